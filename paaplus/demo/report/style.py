"""The style sheet of the report."""

STYLE = """
:root { --ink:#1c2330; --soft:#5b6575; --line:#dfe3ea; --paper:#fbfbf9; --card:#ffffff; --generic:#8a94a6;
  --taste:#0b7a6f; --bottleneck:#7a4bd0; --good:#0b7a4b; --bad:#b3362b; --mark:#c2751a; color-scheme:light dark; }
@media (prefers-color-scheme: dark) { :root { --ink:#e8ebf0; --soft:#9aa5b8; --line:#2c3442; --paper:#12161d;
  --card:#1a202a; --generic:#7f8aa0; --taste:#3fc1b0; --bottleneck:#ab8bf2; --good:#4cc38a; --bad:#f0776b;
  --mark:#e6a04b; } }
* { box-sizing:border-box; }
body { margin:0; background:var(--paper); color:var(--ink); font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
  "Helvetica Neue",Arial,sans-serif; }
main { max-width:1180px; margin:0 auto; padding:28px 24px 72px; }
h1 { font-size:34px; line-height:1.15; letter-spacing:-.02em; margin:4px 0 8px;
  text-wrap:balance; }
h2 { font-size:22px; letter-spacing:-.01em; margin:0 0 12px; } .lead { font-size:17px; color:var(--soft); margin:0; }
.eyebrow { color:var(--soft); font-size:13px; letter-spacing:.06em; text-transform:uppercase; margin:0; }
section { margin-top:44px; } section > p:not(.note) { max-width:800px; } p { margin:0 0 12px; }
.cards { display:grid; grid-template-columns:repeat(auto-fit,minmax(165px,1fr)); gap:12px; margin-top:28px; }
.card { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:16px; display:flex;
  flex-direction:column; } .card b { font-size:26px; letter-spacing:-.02em; font-variant-numeric:tabular-nums; }
.card span { font-weight:600; font-size:14px; } .card small { color:var(--soft); }
.columns { display:grid; grid-template-columns:repeat(auto-fit,minmax(380px,1fr)); gap:28px; align-items:start; }
figure { margin:0; } figcaption, .note { color:var(--soft); font-size:14px; }
svg { width:100%; height:auto; display:block; }
svg text { font:12.5px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif; fill:var(--ink); }
svg .tick, svg .muted { fill:var(--soft); } svg .strong { font-weight:700; }
.grid { stroke:var(--line); stroke-width:1; } polyline { fill:none; stroke-linejoin:round; stroke-linecap:round; }
.thin { stroke-width:1.3; opacity:.42; } .medium { stroke-width:2.5; } .thick { stroke:var(--ink); stroke-width:3.2; }
.dot { fill:var(--ink); } .generic { stroke:var(--generic); stroke-width:2; } .dash { stroke-dasharray:6 5; }
.bar { stroke-width:3; opacity:.55; } .hollow { fill:var(--paper); stroke:var(--generic); stroke-width:2; }
.taste { stroke:var(--taste); } .bottleneck { stroke:var(--bottleneck); }
.full { stroke:none; } .full.taste { fill:var(--taste); } .full.bottleneck { fill:var(--bottleneck); }
.better { color:var(--good); fill:var(--good) !important; } .worse { color:var(--bad); fill:var(--bad) !important; }
.strip { display:grid; grid-template-columns:repeat(auto-fill,minmax(235px,1fr)); gap:16px; }
.photo { background:var(--card); border:1px solid var(--line); border-radius:12px; overflow:hidden; }
.photo img { width:100%; aspect-ratio:4/3; object-fit:cover; display:block; } .photo .scale { padding:8px 10px 0; }
.photo figcaption { padding:2px 12px 12px; } .photo .hollow { fill:var(--card); } .own { color:var(--taste); }
.rated { color:var(--mark); } .mark { fill:var(--mark); }
.scroll { overflow-x:auto; } table { border-collapse:collapse; width:100%; font-size:14px;
  font-variant-numeric:tabular-nums; } th { text-align:left; color:var(--soft); font-weight:600; white-space:nowrap; }
th, td { padding:7px 9px; border-bottom:1px solid var(--line); vertical-align:top; }
.n { text-align:right; } .n, .w { white-space:nowrap; }
.chip { display:inline-block; width:10px; height:10px; border-radius:50%; margin:0 6px 0 2px; background:var(--taste); }
.learner { white-space:nowrap; }
.chip.bottleneck { background:var(--bottleneck); }
ul { padding-left:20px; margin:0 0 12px; } li { margin:4px 0; max-width:860px; }
.checks { list-style:none; padding:0; } .checks li { padding-left:28px; position:relative; }
.checks li::before { position:absolute; left:0; font-weight:700; }
.pass::before { content:"\\2713"; color:var(--good); }
.fail::before { content:"\\2717"; color:var(--bad); }
details { color:var(--soft); font-size:14px; margin-bottom:12px; } summary { cursor:pointer; }
code { font-size:.92em; } pre { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:16px;
  overflow-x:auto; font-size:13.5px; line-height:1.6; margin:0; } pre span { color:var(--soft); }
footer { margin-top:48px; border-top:1px solid var(--line); padding-top:16px; color:var(--soft); font-size:13px; }
.top { margin-top:16px; position:relative; } .top > input { position:absolute; opacity:0; pointer-events:none; }
.steps { display:flex; align-items:center; margin:0 0 12px; max-width:none; } .steps span { margin-right:12px;
  color:var(--soft); } .steps label { padding:5px 18px; border:1px solid var(--line); background:var(--card);
  cursor:pointer; font-variant-numeric:tabular-nums; font-weight:600; margin-left:-1px; }
.steps label:first-of-type { border-radius:9px 0 0 9px; } .steps label:last-of-type { border-radius:0 9px 9px 0; }
.trio { display:grid; grid-template-columns:repeat(3,1fr); gap:16px; margin-bottom:10px; }
.trio article, .proof { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:12px 14px; }
h3 { font-size:16px; margin:0 0 4px; } h3 small { color:var(--soft); font-weight:400; }
h4 { font-size:13px; margin:8px 0 6px; color:var(--soft); font-weight:600; display:flex;
  justify-content:space-between; } h4 b { color:var(--good); font-size:15px; white-space:nowrap; }
h4 .before { color:var(--mark); }
.six { list-style:none; padding:0; margin:0; display:grid; grid-template-columns:repeat(3,1fr); gap:5px; }
.six li { margin:0; aspect-ratio:3/2; border-radius:7px; background-size:cover; background-position:center;
  position:relative; } .six span { position:absolute; left:4px; bottom:4px; background:#10141bd9; color:#ffd76a;
  font-size:12px; font-weight:700; line-height:1; padding:3px 6px; border-radius:9px; }
.proofs { display:grid; grid-template-columns:1fr 1fr; gap:16px; margin-top:14px; } .proof p { font-size:14px;
  margin:0; } blockquote { margin:8px 0 0; padding-left:10px; border-left:3px solid var(--line); color:var(--soft);
  font-size:13px; overflow-wrap:anywhere; } .proof h3::before { margin-right:8px; }
@media (max-width:760px) { main { padding:20px 16px 56px; } .trio, .proofs, .columns { grid-template-columns:1fr; }
  h1 { font-size:28px; } .lead { font-size:16px; } .steps { flex-wrap:wrap; row-gap:6px; }
  .steps span { flex-basis:100%; } .steps label { flex:1; text-align:center; padding:9px 0; }
  .strip { grid-template-columns:1fr 1fr; gap:10px; } svg text { font-size:15px; } svg { overflow:visible; }
  .stack thead { display:none; } .stack tr { display:block; padding:10px 0; border-bottom:1px solid var(--line); }
  .stack td { display:inline; border:0; padding:0 8px 0 0; }
  .stack td:last-child { display:block; color:var(--soft); } }
"""
