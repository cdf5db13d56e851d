// The overview: figures, histograms, counts, and the confusion matrix. A click leads to the images behind it.

const BINS = 20;
const MOST_BARS = 40; // classes in the chart
const MOST_CLASSES = 20; // rows of the confusion matrix; of more classes, those that are confused most
const MOST_PAIRS = 12;

const overview = byId("view-overview");

function showOverview() {
  const parts = [tiles(), charts()];
  if (IS_EVALUATION && report.figures.confused) parts.push(confusion());
  parts.push(classes());
  overview.replaceChildren(...parts.filter(Boolean));
}

function card(title, about, ...children) {
  const head = [element("h2", {}, title), ...(about ? [element("p", { className: "about" }, about)] : [])];
  return element("section", { className: "card" }, ...head, ...children);
}

/** Leave the overview for some images. */
function lookAt(change) {
  clearFilters();
  change();
  refresh();
  openTab("images");
  grid.focus();
}

// --- Figures ---

const FIGURES = [
  ["acc1", "top-1"],
  ["acc5", "top-5"],
  ["mean_average_precision", "mean average precision"],
  ["mean_per_class_recall", "mean per-class recall"],
  ["macro_f1", "macro-F1"],
];

function tiles() {
  const { figures } = report;
  const made = [tile("images", COUNT.toLocaleString("en"))];
  for (const [key, name] of figures ? FIGURES : []) {
    if (key in figures) made.push(tile(name, percent(figures[key]), interval(key)));
  }
  if (figures && "ece_equal_mass" in figures) made.push(tile("calibration error", number(figures.ece_equal_mass)));
  for (const show of [UNKNOWN, FAILED]) {
    const count = report.statuses.filter((status) => status === show).length;
    if (count) made.push(tile(show === UNKNOWN ? "unknown" : "not read", count.toLocaleString("en")));
  }
  if (corrections.size) made.push(tile("corrected or confirmed", corrections.size.toLocaleString("en"), accuracyNow()));
  return element("div", { className: "tiles" }, ...made);
}

const tile = (name, value, note = "") =>
  element("div", { className: "tile" }, element("b", {}, value), element("span", {}, name), element("small", {}, note));

function interval(key) {
  const low = report.figures[`${key}_low`], high = report.figures[`${key}_high`];
  return low === undefined ? "" : `95 %: ${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)}`;
}

/** The accuracy with the corrections: of all images of an evaluation, otherwise of the corrected ones. */
function accuracyNow() {
  const isKnown = (image) => report.statuses[image] !== FAILED && (IS_EVALUATION || correctionOf(image) !== undefined);
  const known = report.names.map((_, image) => image).filter(isKnown);
  const labels = (image) => (IS_EVALUATION ? trueLabels(image) : [correctionOf(image)]);
  const counted = known.filter((image) => labels(image).length && labels(image)[0] !== NONE);
  if (!counted.length) return "";
  const right = counted.filter((image) => labels(image).includes(bestLabel(image))).length;
  return `${percent(right / counted.length)} of ${counted.length.toLocaleString("en")} right`;
}

// --- Histograms ---

function charts() {
  const scores = histogram("score", "Scores of the best label", report.names.map((_, image) => bestScore(image)));
  const margins = histogram("margin", "Margins between the best and the second label", report.margins);
  return element("div", { className: "charts" }, ...[scores, margins].filter(Boolean));
}

function histogram(of, title, values) {
  const known = values.filter((value) => value !== null);
  if (!known.length) return null;
  const [low, high] = limits(known);
  const counts = new Array(BINS).fill(0);
  for (const value of known) counts[Math.min(BINS - 1, Math.floor(((value - low) / (high - low)) * BINS))] += 1;
  const most = Math.max(...counts);
  const width = (high - low) / BINS;
  const chart = svg("svg", { viewBox: "0 0 400 140", class: "histogram", role: "img", "aria-label": inWords(title, known) });
  counts.forEach((count, bin) => {
    const from = low + bin * width;
    chart.append(column(bin, count, most, () => lookAt(() => setRange(of, from, bin === BINS - 1 ? high : from + width))));
  });
  chart.append(tick(0, low, "start"), tick(200, (low + high) / 2, "middle"), tick(400, high, "end"));
  return card(title, `Median ${number(median(known))}. A bar leads to its images.`, chart, rangeForm(of, low, high));
}

/** The ends of the axis: 0 to 1 for what looks like a probability, otherwise those of the values. */
function limits(values) {
  const low = values.reduce((one, other) => Math.min(one, other)), high = values.reduce((one, other) => Math.max(one, other));
  if (low >= 0 && high <= 1 && high > 0.5) return [0, 1];
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

function column(bin, count, most, look) {
  const height = count ? Math.max(2, (count / most) * 112) : 0;
  const x = bin * 20;
  const hit = svg("rect", { x, y: 0, width: 20, height: 116, class: "hit" });
  const bar = svg("rect", { x: x + 1, y: 116 - height, width: 18, height, rx: 2, class: "first" });
  const made = svg("g", { class: count ? "column" : "" }, hit, bar, svg("title", {}, plural(count, "image")));
  if (count) made.addEventListener("click", look);
  return made;
}

const tick = (x, value, anchor) => svg("text", { x, y: 133, "text-anchor": anchor, class: "tick" }, short(value));

function median(values) {
  const inOrder = [...values].sort((one, other) => one - other);
  return inOrder[Math.floor((inOrder.length - 1) / 2)];
}

function inWords(title, values) {
  const [low, high] = [Math.min, Math.max].map((pick) => values.reduce((one, other) => pick(one, other)));
  return `${title}: from ${number(low)} to ${number(high)}, median ${number(median(values))}`;
}

/** The same as a click on bars, for the keyboard. */
function rangeForm(of, low, high) {
  const input = (name, value) =>
    element("input", { type: "number", step: "any", value: value.toFixed(2), "aria-label": `${of} ${name}`, required: true });
  const from = input("from", low), to = input("to", high);
  const form = element("form", { className: "range" }, `Show images with a ${of} from `, from, " to ", to, " ",
    element("button", { type: "submit" }, "Show"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    lookAt(() => setRange(of, from.valueAsNumber, to.valueAsNumber));
  });
  return form;
}

function setRange(of, low, high) {
  filters.range = { of, low, high };
}

// --- Confusion ---

/** How many images of each true label have which best label: a Map "true best" -> count. */
function pairCounts() {
  const counts = new Map();
  for (let image = 0; image < COUNT; image += 1) {
    const [truth, ...more] = trueLabels(image), best = bestLabel(image);
    if (truth === undefined || more.length || best === null) continue;
    const pair = `${truth} ${best}`;
    counts.set(pair, (counts.get(pair) ?? 0) + 1);
  }
  return counts;
}

function confusion() {
  const counts = pairCounts();
  const pairs = [...counts].map(([pair, count]) => [...pair.split(" ").map(Number), count]);
  const wrong = pairs.filter(([truth, best]) => truth !== best).sort((one, other) => other[2] - one[2]);
  const present = [...new Set(pairs.flatMap(([truth, best]) => [truth, best]))].sort((one, other) => one - other);
  const shownClasses = present.length <= MOST_CLASSES ? present : mostConfused(wrong);
  const about = shownClasses.length < present.length
    ? `The ${shownClasses.length} classes that are confused most, of ${present.length}.`
    : "Rows are true labels, columns what the model says.";
  if (!shownClasses.length) return card("Confused classes", "None: every label is right.");
  const list = element("ol", { className: "pairs" }, ...wrong.slice(0, MOST_PAIRS).map(pairItem));
  return card("Confused classes", `${about} A number leads to its images.`, element("div", { className: "confusion" }, matrix(shownClasses, counts), list));
}

/** The classes of the most frequent mistakes, in class order. */
function mostConfused(wrong) {
  const found = new Set();
  for (const [truth, best] of wrong) {
    if (found.size + !found.has(truth) + !found.has(best) > MOST_CLASSES) break;
    found.add(truth).add(best);
  }
  return [...found].sort((one, other) => one - other);
}

const lookAtPair = (truth, best) => lookAt(() => (filters.pair = { truth, best }));

function pairItem([truth, best, count]) {
  const link = element("button", { type: "button", className: "link" }, `${labelName(truth)} taken for ${labelName(best)}`);
  link.addEventListener("click", () => lookAtPair(truth, best));
  return element("li", {}, link, element("span", { className: "score" }, String(count)));
}

/** A table in which arrow keys move, so that it is one stop of the Tab key. */
function matrix(labels, counts) {
  const sums = new Map(labels.map((truth) => [truth, rowSum(truth, counts)]));
  const heads = labels.map((label) => element("th", { scope: "col", role: "columnheader" }, element("span", {}, labelName(label))));
  const corner = element("th", { scope: "col", role: "columnheader" }, "true ↓ predicted →");
  const rows = labels.map((truth) => {
    const cellsOfRow = labels.map((best) => matrixCell(truth, best, counts.get(`${truth} ${best}`) ?? 0, sums.get(truth)));
    return element("tr", { role: "row" }, element("th", { scope: "row", role: "rowheader" }, labelName(truth)), ...cellsOfRow);
  });
  const table = element("table", { className: "matrix", role: "grid", "aria-label": "Confusion matrix" },
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, corner, ...heads)), element("tbody", { role: "rowgroup" }, ...rows));
  table.querySelector("td").tabIndex = 0;
  table.addEventListener("keydown", moveInMatrix);
  return element("div", { className: "scrolled" }, table);
}

const rowSum = (truth, counts) =>
  [...counts].reduce((sum, [pair, count]) => sum + (pair.startsWith(`${truth} `) ? count : 0), 0);

function matrixCell(truth, best, count, sum) {
  const share = sum ? count / sum : 0;
  const kind = truth === best ? "right" : "wrong";
  const name = `true ${labelName(truth)}, predicted ${labelName(best)}: ${count}`;
  const cell = element("td", { role: "gridcell", tabIndex: -1, className: count ? kind : "", title: name, "aria-label": name }, count || "");
  cell.style.setProperty("--share", share.toFixed(3));
  const look = () => count && lookAtPair(truth, best);
  cell.addEventListener("click", look);
  cell.addEventListener("keydown", (event) => event.key === "Enter" && look());
  return cell;
}

function moveInMatrix(event) {
  const cell = event.target.closest("td");
  const row = cell?.parentElement;
  if (!cell) return;
  const goals = {
    ArrowLeft: cell.previousElementSibling,
    ArrowRight: cell.nextElementSibling,
    ArrowUp: row.previousElementSibling?.children[cell.cellIndex],
    ArrowDown: row.nextElementSibling?.children[cell.cellIndex],
  };
  const goal = goals[event.key];
  if (goal?.tagName !== "TD") return;
  cell.tabIndex = -1;
  goal.tabIndex = 0;
  goal.focus();
  event.preventDefault();
}

// --- Classes ---

/** How many images have which label, as bars; in an evaluation with recall and precision. */
function classes() {
  const counts = new Map();
  for (let image = 0; image < COUNT; image += 1) {
    const label = IS_EVALUATION ? bestLabel(image) : (correctionOf(image) ?? givenLabel(image));
    if (label !== null && label !== NONE) counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  const inOrder = [...counts].sort((one, other) => other[1] - one[1]);
  const about = inOrder.length > MOST_BARS ? `The ${MOST_BARS} most frequent of ${inOrder.length} labels.` : "";
  const chart = inOrder.length ? [countChart(inOrder.slice(0, MOST_BARS))] : [];
  const title = IS_EVALUATION ? "Images by predicted label" : "Images by label";
  const made = [card(title, about, ...chart)];
  if (IS_EVALUATION) made.push(card("Figures of each class", "The worst first, as measured.", classTable()));
  return element("div", { className: "charts" }, ...made);
}

function countChart(counts) {
  const most = counts[0][1];
  const rows = counts.map(([label, count]) => {
    const link = element("button", { type: "button", className: "link" }, labelName(label));
    link.addEventListener("click", () => lookAt(() => lookAtLabel(label)));
    return element("li", {}, link, countBar(count / most), element("span", { className: "score" }, count.toLocaleString("en")));
  });
  return element("ol", { className: "counts" }, ...rows);
}

function lookAtLabel(label) {
  filters.labelKind = "best";
  filters.labels.add(label);
}

const countBar = (share) =>
  svg("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", class: "meter", "aria-hidden": "true" },
    svg("rect", { width: Math.max(100 * share, 0.5), height: 6, class: "first" }));

function classTable() {
  const names = "average_precision" in report.figures.per_class[0] ? ["average_precision"] : ["recall", "precision", "f1"];
  const worst = [...report.figures.per_class].filter((one) => one.support);
  worst.sort((one, other) => one[names[0]] - other[names[0]]);
  const head = ["label", ...names.map((name) => name.replace("_", " ")), "images"];
  const rows = worst.map((one) =>
    element("tr", {}, element("th", { scope: "row" }, shown(one.label)),
      ...names.map((name) => element("td", {}, percent(one[name]))), element("td", {}, String(one.support))));
  const table = element("table", { className: "figures" },
    element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...rows));
  return element("div", { className: "scrolled", tabIndex: 0, role: "region", "aria-label": "Figures of each class" }, table);
}
