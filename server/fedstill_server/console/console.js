"use strict";
// The console's page: reads /api/fleet whenever /api/stream says that something changed, and draws it.
// Whatever comes from there becomes text nodes and attributes, never markup.
const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);
let fleet = null;

function make(create, tag, attributes, children) {
  const element = create(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, call] of Object.entries(value)) element.addEventListener(event, call);
    else if (name === "style") Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
const h = (tag, attributes, ...children) => make((t) => document.createElement(t), tag, attributes, children);
const s = (tag, attributes, ...children) => make((t) => document.createElementNS(SVG, t), tag, attributes, children);
const put = (id, ...children) => $(id).replaceChildren(...children.flat().filter(Boolean));

const NONE = "–";
const percent = (share, places = 1) => (share === null || share === undefined ? NONE : `${(100 * share).toFixed(places)} %`);
const number = (value) => Number(value).toLocaleString("en");
function bytes(count) {
  if (count === null || count === undefined) return NONE;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (count < 999.5) return `${count >= 99.95 || unit === "B" ? count.toFixed(0) : count.toPrecision(3).replace(/\.?0+$/, "")} ${unit}`;
    count /= 1000;
  }
  return `${count.toPrecision(3)} TB`;
}
function duration(seconds) {
  if (seconds < 9.95) return `${Math.max(seconds, 0).toFixed(1)} s`;
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) if (seconds >= 2 * size) return `${Math.round(seconds / size)} ${unit}`;
  return `${Math.round(seconds)} s`;
}
const ago = (at) => (at ? `${duration(fleet.now - at)} ago` : "never");
const clock = (at) => new Date(1000 * at).toLocaleString([], { dateStyle: "short", timeStyle: "medium" });
const time = (at, text) => h("time", { datetime: new Date(1000 * at).toISOString(), title: clock(at) }, text || clock(at));
const series = (index) => `var(--series-${index % 6})`;

// ---- drawings

function niceTicks(low, high, count) {
  const rough = (high - low || 1) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-6; tick += step) ticks.push(Math.abs(tick) < step / 1e6 ? 0 : tick);
  return ticks;
}

class Chart {
  // Draws again when its figure gets another width, so that letters keep their size on any screen.
  constructor(id, title, caption, draw) {
    this.figure = $(id); this.draw = draw; this.width = 0;
    this.legend = h("div", { class: "legend", "aria-hidden": "true" });
    this.place = h("div", { role: "img" });
    this.figure.replaceChildren(h("h3", {}, title), this.legend, this.place, h("figcaption", {}, caption));
    new ResizeObserver(() => { if (fleet && this.place.clientWidth !== this.width) this.show(); }).observe(this.place);
  }
  show() {
    this.width = this.place.clientWidth;
    if (this.width < 60) return;
    const plot = new Plot(this.width, this.width > 700 ? 260 : 210, this.legend);
    const words = this.draw(plot);
    this.place.setAttribute("aria-label", words || "Nothing yet");
    if (!words) { this.legend.replaceChildren(); this.place.replaceChildren(h("p", { class: "empty" }, "Nothing yet.")); return; }
    this.place.replaceChildren(plot.svg);
  }
}

class Plot {
  constructor(width, height, legend) {
    Object.assign(this, { width, height, legend, left: 44, right: 8, top: 8, bottom: 24 });
    this.svg = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
  }
  scale(xs, ys) {
    [this.x0, this.x1] = xs; [this.y0, this.y1] = ys;
    if (this.x0 === this.x1) { this.x0 -= 1; this.x1 += 1; }
    if (this.y0 === this.y1) { this.y0 -= 0.01; this.y1 += 0.01; }
    this.x = (value) => this.left + ((value - this.x0) / (this.x1 - this.x0)) * (this.width - this.left - this.right);
    this.y = (value) => this.height - this.bottom - ((value - this.y0) / (this.y1 - this.y0)) * (this.height - this.top - this.bottom);
  }
  axes(yText, xText = (value) => `${value}`, xTicks = null) {
    for (const tick of niceTicks(this.y0, this.y1, 4)) {
      const y = this.y(tick);
      this.svg.append(s("line", { x1: this.left, x2: this.width - this.right, y1: y, y2: y, stroke: "var(--grid)" }),
        s("text", { x: this.left - 6, y: y + 4, "text-anchor": "end" }, yText(tick)));
    }
    const ticks = xTicks || niceTicks(this.x0, this.x1, Math.max(2, Math.floor(this.width / 90))).filter(Number.isInteger);
    for (const tick of ticks) this.svg.append(s("text", { x: this.x(tick), y: this.height - 6, "text-anchor": "middle" }, xText(tick)));
  }
  line(points, colour, dashed = false) {
    if (!points.length) return;
    const path = points.map(([x, y], index) => `${index ? "L" : "M"}${this.x(x).toFixed(1)} ${this.y(y).toFixed(1)}`).join("");
    this.svg.append(s("path", { d: path, fill: "none", stroke: colour, "stroke-width": 2, "stroke-linejoin": "round", "stroke-dasharray": dashed ? "5 4" : null }));
    if (points.length < 25) for (const [x, y] of points) this.svg.append(s("circle", { cx: this.x(x), cy: this.y(y), r: 2.6, fill: colour }));
  }
  band(points, colour) {
    if (points.length < 2) return;
    const there = points.map(([x, low]) => `${this.x(x).toFixed(1)},${this.y(low).toFixed(1)}`);
    const back = [...points].reverse().map(([x, , high]) => `${this.x(x).toFixed(1)},${this.y(high).toFixed(1)}`);
    this.svg.append(s("polygon", { points: [...there, ...back].join(" "), fill: colour, opacity: 0.14 }));
  }
  bar(x, width, from, to, colour) {
    if (to <= from) return;
    const top = this.y(to), height = this.y(from) - top;
    this.svg.append(s("rect", { x: this.x(x) - width / 2, width: Math.max(width, 1), y: top, height: Math.max(height, 0.5), fill: colour, rx: Math.min(2, width / 4) }));
  }
  // The legend shows the values of the round under the pointer, or the newest.
  read(rows, xs, title) {
    const guide = s("line", { y1: this.top, y2: this.height - this.bottom, stroke: "var(--muted)", "stroke-dasharray": "2 3", visibility: "hidden" });
    const show = (x) => this.legend.replaceChildren(
      h("span", {}, title(x)),
      ...rows.map((row) => h("span", {}, h("i", { style: { background: row.colour } }), `${row.name} `, h("b", {}, row.text(x)))));
    const last = xs[xs.length - 1];
    const over = (event) => {
      const at = event.clientX - this.svg.getBoundingClientRect().left;
      const x = xs.reduce((best, one) => (Math.abs(this.x(one) - at) < Math.abs(this.x(best) - at) ? one : best), last);
      guide.setAttribute("x1", this.x(x)); guide.setAttribute("x2", this.x(x)); guide.setAttribute("visibility", "visible");
      show(x);
    };
    this.svg.append(guide);
    this.svg.addEventListener("pointermove", over);
    this.svg.addEventListener("pointerleave", () => { guide.setAttribute("visibility", "hidden"); show(last); });
    show(last);
  }
}

function accuracySeries() {
  const families = [...new Set(fleet.rounds.flatMap((one) => Object.keys(one.student_accuracy)))].sort();
  const found = families.map((family) => ({ name: `${family}, test set`, of: (one) => one.student_accuracy[family] }));
  found.push({ name: "teacher, test set", of: (one) => one.teacher_accuracy, dashed: true });
  found.push({ name: "personal, mean of devices", of: (one) => one.personal_accuracy, band: true });
  found.push({ name: "global, mean of devices", of: (one) => one.global_accuracy });
  return found.map((one, index) => ({ ...one, colour: series(index), points: fleet.rounds.map((round) => [round.round, one.of(round)]).filter(([, y]) => y !== null && y !== undefined) }))
    .filter((one) => one.points.length);
}

function drawAccuracy(plot) {
  const lines = accuracySeries();
  if (!lines.length) return "";
  const band = fleet.rounds.filter((one) => one.deciles.length).map((one) => [one.round, one.deciles[1], one.deciles[9]]);
  const ys = [...lines.flatMap((one) => one.points.map(([, y]) => y)), ...band.flatMap(([, low, high]) => [low, high])];
  const xs = fleet.rounds.map((one) => one.round);
  const pad = Math.max(0.01, 0.06 * (Math.max(...ys) - Math.min(...ys)));
  plot.scale([xs[0], xs[xs.length - 1]], [Math.max(0, Math.min(...ys) - pad), Math.min(1, Math.max(...ys) + pad)]);
  plot.axes((value) => percent(value, plot.y1 - plot.y0 < 0.06 ? 1 : 0));
  for (const [index, one] of fleet.rounds.entries()) if (index && one.generation !== fleet.rounds[index - 1].generation) {
    plot.svg.append(s("line", { x1: plot.x(one.round), x2: plot.x(one.round), y1: plot.top, y2: plot.height - plot.bottom, stroke: "var(--muted)" }),
      s("text", { x: plot.x(one.round) + 4, y: plot.top + 10 }, `generation ${one.generation}`));
  }
  for (const one of lines) if (one.band) plot.band(band, one.colour);
  for (const one of [...lines].reverse()) plot.line(one.points, one.colour, one.dashed);
  const rounds = new Map(fleet.rounds.map((one) => [one.round, one]));
  plot.read(lines.map((one) => ({ name: one.name, colour: one.colour, text: (x) => percent(one.of(rounds.get(x))) })), xs, (x) => `Round ${x}`);
  return `Accuracy over ${xs.length} rounds. ${lines.map((one) => `${one.name} ${percent(one.points[one.points.length - 1][1])}`).join("; ")}.`;
}

function drawDeciles(plot) {
  const measured = fleet.rounds.filter((one) => one.deciles.length);
  if (!measured.length) return "";
  const last = measured[measured.length - 1], first = measured[0];
  plot.scale([-0.7, 10.7], [0, 1]);
  plot.axes((value) => percent(value, 0), (tick) => ({ 0: "worst", 5: "median", 10: "best" })[tick], [0, 5, 10]);
  const width = 0.62 * (plot.x(1) - plot.x(0));
  last.deciles.forEach((share, tenth) => plot.bar(tenth, width, 0, share, series(0)));
  plot.line(first.deciles.map((share, tenth) => [tenth, share]), series(5), true);
  plot.legend.replaceChildren(h("span", {}, h("i", { style: { background: series(0) } }), `round ${last.round}, ${number(last.measured_devices)} devices, ${number(last.personal_examples)} examples`),
    h("span", {}, h("i", { style: { background: series(5) } }), `round ${first.round}`));
  return `Personal accuracy: worst device ${percent(last.deciles[0])}, median ${percent(last.deciles[5])}, best ${percent(last.deciles[10])}.`;
}

function drawBytes(plot) {
  const rounds = fleet.rounds.filter((one) => !one.is_withheld);
  if (!rounds.length) return "";
  const ways = [["up", "uplink_bytes_per_device"], ["down", "downlink_bytes_per_device"]];
  const top = Math.max(...rounds.flatMap((one) => ways.map(([, name]) => one[name])), 1);
  plot.left = 56;
  plot.scale([rounds[0].round, rounds[rounds.length - 1].round], [0, 1.08 * top]);
  plot.axes(bytes);
  const by = new Map(rounds.map((one) => [one.round, one]));
  ways.forEach(([, name], index) => plot.line(rounds.map((one) => [one.round, one[name]]), series(index)));
  plot.read(ways.map(([way, name], index) => ({ name: way, colour: series(index), text: (x) => bytes(by.get(x)[name]) })), rounds.map((one) => one.round), (x) => `Round ${x}`);
  return `Bytes a device and round: ${ways.map(([way, name]) => `${way} ${bytes(rounds[rounds.length - 1][name])}`).join(", ")}.`;
}

const OUTCOMES = [
  ["counted", (one) => one.accepted, "var(--series-2)"], ["late", (one) => one.late, "var(--series-1)"],
  ["left out", (one) => one.quarantined, "var(--bad)"],
  ["no answer yet", (one) => Math.max(0, one.asked - one.accepted - one.late - one.quarantined), "var(--series-5)"],
];
function drawParticipation(plot) {
  const rounds = fleet.rounds.filter((one) => !one.is_withheld);
  if (!rounds.length) return "";
  const top = Math.max(...rounds.map((one) => Math.max(one.asked, one.present, one.accepted + one.late + one.quarantined)), 1);
  plot.scale([rounds[0].round - 0.6, rounds[rounds.length - 1].round + 0.6], [0, 1.08 * top]);
  plot.axes((value) => (Number.isInteger(value) ? number(value) : ""));
  const width = Math.min(46, 0.72 * (plot.x(1) - plot.x(0)));
  for (const one of rounds) {
    let base = 0;
    for (const [, count, colour] of OUTCOMES) { plot.bar(one.round, width, base, base + count(one), colour); base += count(one); }
  }
  plot.line(rounds.map((one) => [one.round, one.present]), "var(--muted)", true);
  const by = new Map(rounds.map((one) => [one.round, one]));
  const rows = OUTCOMES.map(([name, count, colour]) => ({ name, colour, text: (x) => number(count(by.get(x))) }));
  rows.push({ name: "there", colour: "var(--muted)", text: (x) => number(by.get(x).present) });
  plot.read(rows, rounds.map((one) => one.round), (x) => `Round ${x}`);
  const last = rounds[rounds.length - 1];
  return `Round ${last.round}: ${last.asked} asked, ${last.accepted} counted, ${last.late} late, ${last.quarantined} left out.`;
}

const charts = [
  new Chart("accuracy-chart", "Accuracy by round", "Test set: the server's own examples. Personal: each device's held-out examples; the band holds the middle 80 % of devices.", drawAccuracy),
  new Chart("deciles-chart", "Devices from worst to best", "Personal accuracy by tenths of the devices that were measured, in the newest measured round and the first one shown.", drawDeciles),
  new Chart("bytes-chart", "Bytes", "What a device sends and receives in a round.", drawBytes),
  new Chart("participation-chart", "Who took part, by round", "What became of the devices that were asked; dashed: the devices that were there.", drawParticipation),
];

// ---- words and tables

const pill = (text, kind) => h("span", { class: `pill ${kind || ""}` }, text);
const tile = (name, value, note, kind) => h("div", { class: "tile" }, h("div", { class: "name" }, name), h("div", { class: `value ${kind || ""}` }, value), note ? h("div", { class: "note" }, note) : null);
const empty = (text) => h("p", { class: "empty" }, text);
// columns: [heading, row => content, class]
function table(columns, rows) {
  return h("div", { class: "scroll" }, h("table", { class: "stack" },
    h("thead", {}, h("tr", {}, columns.map(([heading, , kind]) => h("th", { class: (kind || "").includes("num") ? "" : "left", scope: "col" }, heading)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, columns.map(([heading, content, kind], index) => h("td", { class: `${kind || ""} ${(kind || "").includes("num") ? "" : "left"}`, "data-label": index ? heading : null }, [content(row)].flat())))))));
}

function showHead() {
  $("kind").textContent = fleet.kind === "fleet" ? "fedstill fleet" : "fedstill simulation";
  $("name").textContent = fleet.kind === "fleet" ? `${fleet.run} at ${fleet.address}` : `${fleet.method}, run ${fleet.run}`;
  document.title = `${fleet.alarms.length ? `(${fleet.alarms.length}) ` : ""}${fleet.run}: fedstill console`;
  const planned = fleet.is_continuous ? "rounds without end" : `${number(fleet.rounds_planned)} rounds`;
  const status = fleet.status && fleet.is_up ? `${fleet.status.waiting_for ? `round ${fleet.status.round} waits: ` : ""}${fleet.status.text}` : null;
  const about = [fleet.method, planned, `students ${fleet.families.join(", ")}`, fleet.mode === "async" ? "asynchronous" : null, fleet.kind === "fleet" ? `generation ${fleet.generation}` : null, status, fleet.phase];
  $("about").textContent = about.filter(Boolean).join(" · ");
  const up = $("up");
  up.hidden = fleet.is_up === null;
  up.textContent = fleet.is_up ? "up" : "down"; up.className = `pill ${fleet.is_up ? "good" : "bad"}`;
  $("as-of").textContent = `As of ${clock(fleet.now)}.`;
}

function showAlarms() {
  put("alarms", fleet.alarms.length ? fleet.alarms.map((one) => h("div", { class: `alarm ${one.severity}` },
    h("b", {}, one.text), h("p", {}, `${one.severity}, since ${one.since ? clock(one.since) : "now"}. What to do: ${one.remedy}.`)))
    : h("p", { class: "calm" }, "✓ No alarm is raised."));
}

function showTiles() {
  const last = fleet.rounds[fleet.rounds.length - 1];
  const newest = (of) => { for (let index = fleet.rounds.length - 1; index >= 0; index--) { const value = of(fleet.rounds[index]); if (value !== null && value !== undefined) return [value, fleet.rounds[index]]; } return [null, null]; };
  const mean = (one) => { const shares = Object.values(one.student_accuracy); return shares.length ? shares.reduce((a, b) => a + b) / shares.length : null; };
  const [students, studentRound] = newest(mean), [global_] = newest((one) => one.global_accuracy), [teacher] = newest((one) => one.teacher_accuracy);
  const [personal, personalRound] = newest((one) => one.personal_accuracy), [worst] = newest((one) => one.worst_device_accuracy);
  const tiles = [tile("Round", last ? number(last.round) : "0", last ? `${fleet.is_continuous ? "" : `of ${number(fleet.rounds_planned)}, `}${ago(last.at)}` : "none yet")];
  if (students !== null) tiles.push(tile("Students on the test set", percent(students), `${number(studentRound.test_examples)} examples; teacher ${percent(teacher)}`));
  else if (global_ !== null) tiles.push(tile("Global accuracy", percent(global_), `teacher ${percent(teacher)}`));
  else if (teacher !== null) tiles.push(tile("Teacher on the test set", percent(teacher), last ? `${number(last.test_examples)} examples` : ""));
  if (personal !== null) tiles.push(tile("Personal accuracy", percent(personal), `${number(personalRound.measured_devices)} devices${personalRound.personal_examples ? `, ${number(personalRound.personal_examples)} examples` : ""}; worst ${percent(worst)}`));
  if (fleet.kind === "fleet") tiles.push(tile("Devices there", `${number(fleet.online_count)} of ${number(fleet.device_count)}`, last ? `${number(last.asked)} asked in the last round` : "registered"));
  else if (last) tiles.push(tile("Devices", number(last.present), `${number(last.asked)} asked in the last round`));
  if (last) {
    tiles.push(last.is_withheld ? tile("Counted", NONE, "withheld: central noise") : tile("Counted", `${number(last.accepted)} of ${number(last.asked)}`, `${number(last.quarantined)} left out, ${number(last.late)} late`));
    const sum = fleet.totals.bytes;
    tiles.push(tile("Bytes in all", bytes(sum.up + sum.down), `${bytes(sum.up)} up, ${bytes(sum.down)} down`));
    tiles.push(tile("The last round took", duration(last.seconds), Object.entries(last.phases).filter(([, seconds]) => seconds >= 0.05).map(([name, seconds]) => `${name} ${duration(seconds)}`).join(", ")));
  }
  if (fleet.privacy) tiles.push(tile("Epsilon spent", fleet.privacy.epsilon.toFixed(2), `of ${fleet.privacy.planned_epsilon.toFixed(2)} planned; ${fleet.privacy.mode}, delta ${fleet.privacy.delta}`));
  if (fleet.disk) tiles.push(tile("Disk free", bytes(fleet.disk.free_bytes), percent(fleet.disk.free_bytes / fleet.disk.total_bytes, 0)));
  put("tiles", tiles);
}

function showLastRound() {
  const last = fleet.rounds[fleet.rounds.length - 1];
  if (!last) return put("last-round", h("h3", {}, "The last round"), empty("No round is committed yet."));
  const out = fleet.left_out.filter((one) => one.round === last.round), most = 60;
  put("last-round", h("h3", {}, `Round ${last.round}`),
    last.notice ? h("p", {}, last.notice) : null,
    h("p", { class: "note" }, last.is_withheld ? "Whose answers counted is withheld: this fleet adds its noise on the server." : `${number(last.asked)} asked, ${number(last.accepted)} counted:`),
    h("div", { class: "chips" }, fleet.counted.slice(0, most).map((name) => h("span", { class: "chip" }, name))),
    fleet.counted.length > most ? h("p", { class: "more" }, `and ${number(fleet.counted.length - most)} more`) : null,
    out.length ? h("p", { class: "note" }, "left out:") : null,
    h("div", { class: "chips" }, out.slice(0, most).map((one) => h("span", { class: "chip bad", title: one.text }, `${one.device}: ${one.reason}`))));
}

function showQuarantine() {
  const reasons = Object.entries(fleet.totals.left_out).sort((a, b) => b[1] - a[1]), most = Math.max(1, ...reasons.map(([, count]) => count));
  const newest = [...fleet.left_out].reverse().slice(0, 12);
  put("quarantine", h("h3", {}, "Left out, by reason"),
    reasons.length ? h("div", { class: "bars" }, reasons.map(([reason, count]) => [h("span", {}, reason), h("div", { class: "bar", style: { width: `${(100 * count) / most}%` } }), h("span", {}, number(count))]).flat()) : empty("Every answer that came was taken."),
    newest.length ? h("details", {}, h("summary", {}, "The newest"), h("div", { class: "scroll" }, newest.map((one) => h("p", { class: "note" }, `Round ${one.round}, ${one.device}: ${one.reason}: ${one.text}`)))) : null);
}

function showRounds() {
  const rows = [...fleet.rounds].reverse().slice(0, 100);
  const open = $("rounds").querySelector("details")?.open || false;
  put("rounds", rows.length ? h("details", { open }, h("summary", {}, "All figures, round by round"), table([
    ["round", (one) => number(one.round), "num"], ["committed", (one) => time(one.at)], ["there", (one) => number(one.present), "num"], ["asked", (one) => number(one.asked), "num"],
    ["counted", (one) => (one.is_withheld ? NONE : number(one.accepted)), "num"], ["left out", (one) => number(one.quarantined), "num"], ["late", (one) => number(one.late), "num"],
    ["students", (one) => { const shares = Object.values(one.student_accuracy); return percent(shares.length ? shares.reduce((a, b) => a + b) / shares.length : null); }, "num"],
    ["teacher", (one) => percent(one.teacher_accuracy), "num"], ["personal", (one) => percent(one.personal_accuracy), "num"], ["worst", (one) => percent(one.worst_device_accuracy), "num"],
    ["up", (one) => bytes(one.uplink_bytes), "num"], ["down", (one) => bytes(one.downlink_bytes), "num"], ["took", (one) => duration(one.seconds), "num"]], rows)) : null);
}

const STATUS = { staged: "", done: "good", "taken back": "bad" };
function showRelease(one) {
  const share = one.rules.stages[one.stage], words = `${percent(share, share < 0.1 ? 1 : 0)} of the devices`;
  const newest = one.steps.length ? one.steps[one.steps.length - 1] : null;
  return h("div", { class: "release" },
    h("h3", {}, `Release ${one.package_version} `, pill(one.paused ? "paused" : one.status === "staged" ? words : one.status, one.paused ? "warn" : STATUS[one.status])),
    h("div", { class: "stages", role: "img", "aria-label": `stage ${one.stage + 1} of ${one.rules.stages.length}: ${words}` }, one.rules.stages.map((step, stage) => h("i", { class: one.status === "taken back" ? (stage <= one.stage ? "bad" : "") : one.status === "done" || stage <= one.stage ? "on" : "" }))),
    one.reason ? h("p", { class: "bad" }, one.reason) : null,
    one.verdicts.length ? table([["gate", (gate) => gate.gate], ["says", (gate) => pill(gate.failed ? "no" : gate.reports ? "yes" : "nothing yet", gate.failed ? "bad" : gate.reports ? "good" : "")], ["found", (gate) => gate.text, "full"], ["reports", (gate) => number(gate.reports), "num"]], one.verdicts) : null,
    newest ? h("p", { class: "note" }, `${clock(newest.at)}: ${newest.text}`) : null);
}
function showReleases() {
  const parts = [], plan = fleet.plan || {};
  if (plan.rounds_off) parts.push(h("p", {}, pill("kill switch on: no rounds", "bad")));
  const stable = fleet.releases;
  parts.push(stable.length ? table([["student", (one) => one.family], ["for", (one) => (one.stage === "all" ? "all devices" : `${percent(one.share, one.share < 0.1 ? 1 : 0)} of the devices`)], ["package", (one) => one.package_version, "num"], ["size", (one) => bytes(one.size_bytes), "num"],
    ["devices on it", (one) => number(fleet.devices.filter((device) => device.family === one.family && device.package_version === one.package_version).length), "num"]], stable) : empty("Nothing is published."));
  if (plan.withdrawn && plan.withdrawn.length) parts.push(h("p", { class: "note" }, `Withdrawn: ${plan.withdrawn.join(", ")}.`));
  for (const one of [...fleet.staged].reverse().slice(0, 5)) parts.push(showRelease(one));
  if (fleet.generations.length) parts.push(h("h3", {}, "Generations"), h("div", {}, fleet.generations.map((one) => h("p", {}, `${one.number} `, pill(one.state, one.state === "in force" ? "good" : ""), h("span", { class: "note" }, ` ${one.first_round ? `rounds ${one.first_round} to ${one.last_round}` : "no rounds"}${one.in_force_at ? `, since ${clock(one.in_force_at)}` : ""}${one.changes.length ? `: ${one.changes.join("; ")}` : ""}`)))));
  put("releases", parts);
}

const KINDS = { online: "good", offline: "warn", never: "", revoked: "bad", refused: "warn", unwilling: "warn" };
const marks = (one) => one.marks.map((mark) => pill(mark, KINDS[mark]));
const FEW = 50;
let all = false;
function showDevices() {
  const wanted = $("filter").value.trim().toLowerCase();
  const words = (one) => [one.name, ...one.marks, one.family, `package ${one.package_version}`, one.agent, one.last_outcome].join(" ").toLowerCase();
  const order = (one, other) => one.name.localeCompare(other.name, undefined, { numeric: true });
  const found = fleet.devices.filter((one) => !wanted || words(one).includes(wanted)).sort(order);
  const outcome = (one) => (one.revoked_at ? `revoked ${clock(one.revoked_at)}${one.reason ? `: ${one.reason}` : ""}` : one.last_round ? `${one.last_outcome || NONE} in round ${one.last_round}${one.last_outcome_text ? `: ${one.last_outcome_text}` : ""}` : "never asked");
  put("devices", found.length ? table([
    ["device", (one) => one.name], ["state", marks], ["seen", (one) => ago(one.last_seen_at)],
    ["last round", outcome, "full"], ["counted", (one) => number(one.counted_rounds), "num"], ["refused", (one) => number(one.refusals), "num"],
    ["student", (one) => one.family || NONE], ["package", (one) => one.package_version || NONE, "num"], ["agent", (one) => one.agent || NONE]], all ? found : found.slice(0, FEW)) : empty(fleet.devices.length ? "No device is like that." : "No device is registered."),
    !all && found.length > FEW ? h("p", { class: "more" }, h("button", { type: "button", on: { click: () => { all = true; showDevices(); } } }, `Show ${number(found.length - FEW)} more`)) : null,
    fleet.device_count > fleet.devices.length ? h("p", { class: "more" }, `The first ${number(fleet.devices.length)} of ${number(fleet.device_count)}; /api/fleet?devices=${fleet.device_count} has all.`) : null);
}

function showLogs() {
  const events = [...fleet.events].reverse().slice(0, 40);
  put("events", events.length ? table([["when", (one) => time(one.at)], ["kind", (one) => pill(one.kind, one.kind === "alarm" ? (one.document.state === "cleared" ? "good" : "bad") : "")], ["what", (one) => one.text, "full"]], events) : empty("Nothing yet."));
  const audit = [...fleet.audit].reverse().slice(0, 40);
  put("audit", audit.length ? table([["when", (one) => time(one.at)], ["who", (one) => one.who], ["did", (one) => one.action], ["details", (one) => Object.entries(one.details).map(([name, value]) => `${name} ${typeof value === "string" ? value : JSON.stringify(value)}`).join(", "), "full"]], audit) : empty("No command has changed this fleet yet."));
}

function showServer() {
  const rows = fleet.expiries.map((one) => [one.what, `until ${new Date(1000 * one.at).toLocaleDateString()}`]);
  if (fleet.schedule) rows.push(...Object.entries(fleet.schedule).map(([name, value]) => [`schedule: ${name}`, typeof value === "object" ? JSON.stringify(value) : String(value)]));
  rows.push(["audit log", fleet.audit.length ? `${number(fleet.audit[fleet.audit.length - 1].number)} entries` : "empty"]);
  put("server", h("dl", { class: "pairs" }, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
}

const PARTS = [["accuracy", "Accuracy"], ["taking-part", "Who took part"], ["releases-title", "Releases"], ["devices-title", "Devices"], ["events-title", "What happened"], ["audit-title", "Operators"], ["server-title", "Server"]];
function showNav() {
  put("nav", PARTS.filter(([id]) => fleet.kind === "fleet" || !$(id).closest("[data-fleet]")).map(([id, name]) => h("a", { href: `#${id}` }, name)));
}

// Buttons, where the console was started with --allow-changes; each asks once more.
const BUTTONS = [
  ["pause", "Pause rounds", () => fleet.schedule && !fleet.schedule.paused],
  ["resume", "Resume rounds", () => fleet.schedule && fleet.schedule.paused],
  ["release-pause", "Pause the release", () => fleet.staged.some((one) => one.status === "staged" && !one.paused)],
  ["release-resume", "Let the release go on", () => fleet.staged.some((one) => one.status === "staged" && one.paused)],
  ["release-rollback", "Roll the release back", () => fleet.staged.some((one) => one.status === "staged")],
  ["kill", "Kill switch: no more rounds", () => !(fleet.plan && fleet.plan.rounds_off)],
  ["revive", "Let rounds go on again", () => fleet.plan && fleet.plan.rounds_off],
];
function showButtons() {
  const place = $("changes");
  if (!place) return;
  const known = place.dataset.changes.split(" ");
  put("buttons", BUTTONS.filter(([what, , fits]) => known.includes(what) && fits()).map(([what, words]) =>
    h("button", { type: "button", "data-what": what, on: { click: () => { if (confirm(`${words}?`)) sendChange(what, words); } } }, words)));
}
async function sendChange(what, words) {
  $("changed").textContent = `${words} …`;
  const body = new URLSearchParams({ what, form_token: $("changes").dataset.formToken });
  const answer = await fetch("/change", { method: "POST", body });
  const told_ = await answer.json();
  $("changed").textContent = answer.ok ? `${words}: done.` : told_.error || told_.detail;
  setTimeout(read, 1100);
}

function show() {
  document.querySelector("[data-fleet]").hidden = fleet.kind !== "fleet";
  showHead(); showAlarms(); showButtons(); showTiles(); showNav();
  for (const chart of charts) chart.show();
  showLastRound(); showQuarantine(); showRounds();
  if (fleet.kind === "fleet") { showReleases(); showDevices(); showLogs(); showServer(); }
  document.body.dataset.round = fleet.rounds.length ? fleet.rounds[fleet.rounds.length - 1].round : 0;
}

// ---- live

function told(text, kind) { $("link").textContent = text; $("link").className = `pill ${kind}`; }

let reading = false, again = false;
async function read() {
  if (reading) { again = true; return; }
  reading = true;
  try {
    const answer = await fetch("/api/fleet", { headers: { accept: "application/json" } });
    if (answer.status === 401) { location.assign("/login"); return; }
    const document_ = await answer.json();
    if (!answer.ok) throw new Error(document_.error || `status ${answer.status}`);
    fleet = document_;
    show();
    told("live", "good");
  } catch (error) {
    told(String(error.message || error).slice(0, 120), "bad");
  } finally {
    reading = false;
    if (again) { again = false; setTimeout(read, 200); }
  }
}

const stream = new EventSource("/api/stream");
stream.addEventListener("changed", read);
stream.addEventListener("error", () => told("connection lost; trying again", "bad"));
$("filter").addEventListener("input", showDevices);
setInterval(read, 60000); // so that "ago" grows
