from __future__ import annotations

import pytest

from runtime.backends.tensorrt.logger import logger_of
from runtime.backends.tensorrt.plugin import LIBRARY_NAME, find_plugin, load_plugin
from runtime.errors import UserError
from tests.runtime.backends.tensorrt.conftest import write_library


@pytest.fixture
def folders(use_tensorrt, tmp_path):
    """The places in the order in which they are looked at."""
    return [tmp_path / "project/out/plugin/tensorrt10", tmp_path / "engines", tmp_path / "bundle", tmp_path / "named"]


def test_the_places_are_looked_at_in_their_order(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERSEG_PLUGIN", str(tmp_path / "named" / LIBRARY_NAME))
    for folder in reversed(folders):
        library = write_library(folder, 10)
        assert find_plugin(10, None, tmp_path / "engines", tmp_path / "bundle") == library


def test_a_named_library_wins(folders, tmp_path):
    write_library(folders[0], 10)
    named = write_library(tmp_path / "mine", 10)
    assert find_plugin(10, named, tmp_path) == named


def test_a_missing_library_says_where_it_was_looked_for_and_how_to_build_it(folders, tmp_path):
    with pytest.raises(UserError, match=r"scripts/build_plugin.sh --tensorrt-major 10") as error:
        find_plugin(10, None, tmp_path / "engines", tmp_path / "bundle")
    assert all(str(folder) in str(error.value) for folder in folders[:3])
    with pytest.raises(UserError, match=r"nowhere.so"):
        find_plugin(10, tmp_path / "nowhere.so")
    with pytest.raises(UserError, match=r"scripts/build_plugin\.sh\. "):  # needs headers: no option
        find_plugin(8, None, tmp_path)


def test_a_library_of_another_major_version_is_refused(folders, tmp_path):
    marked = write_library(tmp_path / "marked", 11)
    with pytest.raises(UserError, match="is for TensorRT 11, but here is TensorRT 10"):
        find_plugin(10, marked)


def test_a_library_without_the_mark_is_judged_by_its_folder_then_by_what_it_exports(tmp_path):
    in_folder = tmp_path / "tensorrt11" / LIBRARY_NAME
    for library, exports in ((in_folder, b"getCreators"), (tmp_path / "old.so", b"getPluginCreators")):
        library.parent.mkdir(exist_ok=True)
        library.write_bytes(b"ELF" + exports)
    assert find_plugin(11, in_folder) == in_folder
    with pytest.raises(UserError, match="is for TensorRT 11, but here is TensorRT 10"):
        find_plugin(10, in_folder)
    with pytest.raises(UserError, match="is for TensorRT 8, but here is TensorRT 10"):
        find_plugin(10, tmp_path / "old.so")
    assert find_plugin(8, tmp_path / "old.so") == tmp_path / "old.so"
    (tmp_path / "new.so").write_bytes(b"ELF getCreators")
    assert find_plugin(11, tmp_path / "new.so") == find_plugin(10, tmp_path / "new.so")
    with pytest.raises(UserError, match="is for TensorRT 10 or 11, but here is TensorRT 8"):
        find_plugin(8, tmp_path / "new.so")


def test_a_library_is_loaded_once(use_tensorrt, tmp_path):
    trt = use_tensorrt("10.3.0")
    library = write_library(tmp_path, 10)
    load_plugin(trt, library)
    load_plugin(trt, library)  # the double refuses what it has, as TensorRT does
    assert trt._calls == [("load_library", str(library))]


def test_a_refused_library_gives_tensorrts_reason(use_tensorrt, tmp_path):
    trt = use_tensorrt("10.3.0")
    trt.Runtime(logger_of(trt))
    trt._faults.plugin_refused = True
    library = write_library(tmp_path, 10)
    with pytest.raises(UserError, match=r"cannot load the plugin library.*says: Could not load.*--tensorrt-major 10"):
        load_plugin(trt, library)
    trt._faults.plugin_refused = False
    load_plugin(trt, library)  # a failure is not remembered
