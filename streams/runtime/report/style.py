"""The page's style sheet. Colours are named once for light and once for dark; charts use the names only."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--bg:#fff;--card:#f6f7f9;--ink:#1b2330;--muted:#5a6573;--line:#dde2e8;
--blue:#1f6fb8;--orange:#c85f10;--teal:#0b8072;--purple:#7a4fb5;--grey:#7d8794;--pale:#b9c6d6;--warn:#8a4b00}
@media(prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1a2029;--ink:#e6eaf0;--muted:#9aa6b5;--line:#2c3541;
--blue:#6db0f2;--orange:#f0a05a;--teal:#4cc2b0;--purple:#b795ea;--grey:#8a94a2;--pale:#41566f;--warn:#f2b866}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:34px;margin:0 0 18px;line-height:1.15}h2{font-size:25px;margin:0 0 4px}h4{font-size:16px;margin:0 0 6px}
.brand{margin:0;color:var(--blue);font-weight:600;letter-spacing:.04em}
.sub,.cap,figcaption,footer{color:var(--muted);font-size:14px}.sub{margin:0 0 14px}.cap{margin:6px 0 0}
.tiles{display:flex;flex-wrap:wrap;gap:10px;margin-bottom:16px}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px 16px}
.tiles b{display:block;font-size:20px;font-variant-numeric:tabular-nums}.tiles span{color:var(--muted);font-size:13px}
nav{margin:0 0 14px;display:flex;flex-wrap:wrap;gap:6px 16px}a{color:var(--blue)}
section{border-top:1px solid var(--line);padding-top:28px;margin-top:36px}
.warn{color:var(--warn);border-left:3px solid var(--warn);padding-left:12px}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr));gap:18px;margin:18px 0;
align-items:start}
.wide{grid-column:1/-1}
.row{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,320px),1fr));gap:18px}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:18px}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px 16px}
figcaption{margin-top:8px}svg{display:block;width:100%;height:auto}
code{background:var(--card);padding:0 4px;border-radius:4px;font-size:.92em}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}
th{color:var(--muted);font-weight:500;vertical-align:bottom}
th,td{padding:5px 10px;border-bottom:1px solid var(--line);text-align:left;font-variant-numeric:tabular-nums}
td{vertical-align:top}
.numbers th:not(:first-child),.numbers td:not(:first-child){text-align:right}
.legend{margin:2px 0 4px;font-size:13px;color:var(--muted)}.key{margin-right:16px;white-space:nowrap}
.swatch{display:inline-block;width:16px;height:0;margin-right:6px;vertical-align:middle;border-top:3px solid}
.swatch.dot{width:9px;height:9px;border:0;border-radius:50%;background:currentColor}
.swatch.bar{width:12px;height:10px;border:0;background:currentColor}
.swatch.said,.swatch.events,.swatch.goal{color:var(--blue)}.swatch.actual,.swatch.silence{color:var(--orange)}
.swatch.silent{color:var(--teal);border-top-style:dashed}.swatch.dot.silent{background:var(--teal)}
.swatch.event{color:var(--purple)}
.swatch.users,.swatch.model{color:var(--pale)}.swatch.chance,.swatch.heuristic{color:var(--grey);border-top-width:2px}
.swatch.chance{border-top-style:dotted}.swatch.into{color:var(--teal)}.swatch.outof{color:var(--orange)}
text{font-size:11.5px;fill:var(--muted);font-family:inherit}.title{font-size:12px}
.note{paint-order:stroke;stroke:var(--card);stroke-width:4px;stroke-linejoin:round}
path.grid{stroke:var(--line);fill:none;stroke-width:1}
.axis,.tickmark{stroke:var(--muted);fill:none}.level{stroke:var(--muted);fill:none;stroke-dasharray:2 3}
.line{fill:none;stroke-width:2;stroke-linejoin:round}
.line.said,.line.events{stroke:var(--blue)}.line.silent{stroke:var(--teal);stroke-dasharray:6 3}
.line.chance{stroke:var(--grey);stroke-width:1.2;stroke-dasharray:2 3}
.line.heuristic{stroke:var(--grey);stroke-width:1.5}
.dot.actual{fill:var(--orange)}.dot.events{fill:var(--blue)}
.dot.silent{fill:var(--card);stroke:var(--teal);stroke-width:2}
.dot.spot{fill:transparent}
.bar.users,.bar.model{fill:var(--pale)}.bar.goal{fill:var(--blue)}.bar.event{fill:var(--purple)}
.bar.silence,.bar.outof{fill:var(--orange)}.bar.into{fill:var(--teal)}
footer{margin-top:48px;border-top:1px solid var(--line);padding-top:14px}
@media print{body{font-size:12px}figure{break-inside:avoid}}
"""
