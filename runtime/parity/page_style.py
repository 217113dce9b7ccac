"""The look of parity.html: one column on a phone, light or dark as the reader's system is."""

NETWORK_COLOURS = {
    ("torch", "fp32"): "var(--torch)",
    ("onnxruntime", "fp32"): "var(--ort-fp32)",
    ("onnxruntime", "fp16"): "var(--ort-fp16)",
    ("onnxruntime", "int8"): "var(--ort-int8)",
    ("tensorrt", "fp32"): "var(--trt-fp32)",
    ("tensorrt", "fp16"): "var(--trt-fp16)",
    ("tensorrt", "int8"): "var(--trt-int8)",
}

CSS = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #16191d; --soft: #5c6570; --line: #dfe3e8; --track: #eceff2;
  --passed: #14713d; --passed-bg: #dcf3e4; --failed: #b3261e; --failed-bg: #fde4e1;
  --not-run: #5c6570; --not-run-bg: #e9ecf0; --highlight: #fff0b8;
  --torch: #64748b; --ort-fp32: #2563eb; --ort-fp16: #0891b2; --ort-int8: #7c3aed;
  --trt-fp32: #15803d; --trt-fp16: #ca8a04; --trt-int8: #db2777;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f1216; --card: #181c22; --ink: #e8ebef; --soft: #98a2ae; --line: #2b323b; --track: #252b33;
    --passed: #6fdc9a; --passed-bg: #12351f; --failed: #ff9389; --failed-bg: #451714;
    --not-run: #a5afba; --not-run-bg: #2a313a; --highlight: #4a3f10;
    --torch: #94a3b8; --ort-fp32: #60a5fa; --ort-fp16: #22d3ee; --ort-int8: #a78bfa;
    --trt-fp32: #4ade80; --trt-fp16: #facc15; --trt-int8: #f472b6;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 40px 0 12px; }
h3 { font-size: 15px; margin: 0 0 8px; }
p { margin: 6px 0; max-width: 78ch; }
.soft { color: var(--soft); }
.small { font-size: 13px; }
.title { display: flex; flex-wrap: wrap; gap: 8px 14px; align-items: center; margin-bottom: 8px; }
.badge {
  display: inline-block; padding: 1px 10px; border-radius: 99px; font-size: 13px; font-weight: 600; white-space: nowrap;
}
.title .badge { font-size: 16px; padding: 3px 14px; }
.passed { color: var(--passed); background: var(--passed-bg); }
.failed { color: var(--failed); background: var(--failed-bg); }
.not-run, .reference { color: var(--not-run); background: var(--not-run-bg); }
.cards { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px; min-width: 0; }
.card > header { display: flex; justify-content: space-between; gap: 10px; align-items: baseline; margin-bottom: 8px; }
.card > header h3 { margin: 0; }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 8px; }
dl.figures { display: grid; grid-template-columns: repeat(3, 1fr); gap: 12px 10px; margin: 0; }
dl.figures div { min-width: 0; }
dt { color: var(--soft); font-size: 12.5px; }
dd { margin: 0; font-size: 19px; font-weight: 600; font-variant-numeric: tabular-nums; }
dd small { font-size: 13px; font-weight: 400; color: var(--soft); }
ul.reasons { margin: 16px 0 0; padding: 0; list-style: none; display: grid; gap: 8px; font-size: 14px; }
ul.reasons li { display: grid; grid-template-columns: 5em 10.5em 1fr; gap: 2px 12px; align-items: baseline; }
ul.reasons .badge { justify-self: start; }
ul.reasons .soft { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 8px 14px; text-align: right; white-space: nowrap; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--soft); font-size: 12.5px; font-weight: 500; vertical-align: bottom; }
th:first-child, td:first-child, td[data-label="verdict"], td[data-label="operator"] { text-align: left; }
thead th:nth-child(2) { text-align: left; }
tbody th { font-weight: 600; }
table.text th, table.text td { text-align: left; white-space: normal; overflow-wrap: anywhere; vertical-align: top; }
table.text th { font-weight: 500; color: var(--soft); width: 12em; }
code { font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
svg { display: block; }
svg text { fill: var(--soft); font-size: 11.5px; }
svg .axis { stroke: var(--line); }
svg .mark { stroke: var(--ink); stroke-width: 1.3; opacity: 0.85; }
svg .p95 { stroke-dasharray: 5 3; }
svg .p99 { stroke-dasharray: 1.5 3; }
svg .track { fill: var(--track); }
.iou { display: grid; gap: 8px 34px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); }
.iou > div {
  display: grid; grid-template-columns: 7.6em 1fr 3.2em 4.2em; gap: 10px; align-items: center; font-size: 13.5px;
}
.iou > div > :nth-child(n+3) { text-align: right; font-variant-numeric: tabular-nums; }
.mean { font-weight: 700; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 4px 0 14px; font-size: 13.5px; }
.pictures { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); }
.pairs { display: grid; gap: 14px 22px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)); }
.pairs > div { display: grid; gap: 6px; grid-template-columns: 1fr 1fr; }
.pictures + .pairs { margin-top: 16px; padding-top: 16px; border-top: 1px solid var(--line); }
figure { margin: 0; min-width: 0; }
figure img { width: 100%; height: auto; display: block; border-radius: 6px; }
figcaption { font-size: 13px; color: var(--soft); margin-top: 5px; }
.scene { margin-bottom: 18px; }
details { margin-top: 10px; }
summary { cursor: pointer; padding: 4px 0; }
tr.departed td, tr.departed th { color: var(--failed); }
tr.first td, tr.first th { background: var(--highlight); font-weight: 700; color: var(--ink); }
td.bar { width: 24%; min-width: 120px; }
table.layers { font-size: 13px; }
table.layers th, table.layers td { padding: 4px 12px; }
table.layers tbody th { font-weight: 500; overflow-wrap: anywhere; }
table.layers tbody tr.first th { font-weight: 700; }
@media (max-width: 640px) {
  main { padding: 20px 14px 48px; }
  ul.reasons li { grid-template-columns: auto 1fr; }
  ul.reasons .soft { grid-column: 1 / -1; }
  .iou > div { grid-template-columns: 6.4em 1fr 2.6em 3em; gap: 8px; font-size: 13px; }
  h1 { font-size: 23px; }
  th, td { padding: 7px 10px; }
  table.stack thead { display: none; }
  table.stack tbody tr { display: grid; grid-template-columns: repeat(3, 1fr); padding: 10px 4px; }
  table.stack tbody tr { border-top: 1px solid var(--line); }
  table.stack tbody tr:first-child { border-top: 0; }
  table.stack th, table.stack td { border: 0; padding: 3px 10px; text-align: left; white-space: normal; }
  table.stack tbody th { grid-column: 1 / -1; }
  table.stack td::before { content: attr(data-label); display: block; color: var(--soft); font-size: 12px; }
  table.stack td:empty { display: none; }
  table.layers tbody tr { grid-template-columns: repeat(4, 1fr); padding: 6px 0; }
  table.layers td[data-label="operator"], table.layers td.bar { grid-column: span 2; width: auto; min-width: 0; }
  table.layers td.bar::before { display: none; }
  table.layers td.bar { padding-top: 10px; }
  table.text, table.text tbody, table.text tr, table.text th, table.text td { display: block; width: auto; }
  table.text th { padding-bottom: 0; font-size: 12.5px; }
  table.text td { border-top: 0; padding-top: 0; }
}
"""
