"""What a search leaves in its folder."""

from __future__ import annotations

from pathlib import Path

from calibration.search.markdown import as_markdown, fine_tuning_recipe_name, summary
from calibration.search.page import as_html
from calibration.search.report import SearchReport, as_json
from runtime.files import replace_file
from training.int8_recipe import Int8Recipe


def write_report(report: SearchReport, folder: Path) -> list[Path]:
    """Write the recipe, if one was found, and the report; returns the files, the recipe first.

    Where little or nothing can be INT8, a recipe of all layers is written, too, to fine-tune for. Recipes of an earlier
    search that do not hold any more are removed. Raises UserError where the folder cannot be written.
    """
    model, written = report.info.name, []
    recipes = {
        f"{model}.int8.recipe.json": report.chosen and (report.chosen.layers, summary(report)),
        fine_tuning_recipe_name(report): report.gives_up_much
        and (report.quantisable, "all that can be INT8, to fine-tune for"),
    }
    for name, recipe in recipes.items():
        path = folder / name
        if recipe:
            layers, note = recipe
            Int8Recipe(model, report.method, layers, note).write(path)
            written.append(path)
        else:
            path.unlink(missing_ok=True)
    for name, text in {
        "search.json": as_json(report), "search.md": as_markdown(report), "search.html": as_html(report)
    }.items():  # fmt: skip
        with replace_file(folder / name) as aside:
            aside.write_text(text, encoding="utf-8")
        written.append(folder / name)
    return written
