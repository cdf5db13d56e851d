// The grid of images. Only those in view are elements of the page; one of them is active.

const CELL_WIDTH = 176, CELL_HEIGHT = 236, GAP = 12, ROWS_AHEAD = 2;
const NARROW = 420, NARROW_CELL_WIDTH = 148; // so that two images stand side by side on a phone

const grid = byId("grid"), canvas = byId("canvas");
const cells = new Map(); // place in the selection -> element
let active = 0; // place in the selection
let columns = 1;

const activeImage = () => selection[active];

/** Show the selection from its start, or from the image that was active if it is still there. */
function showSelection(kept) {
  active = Math.max(0, selection.indexOf(kept));
  canvas.replaceChildren();
  cells.clear();
  grid.hidden = !selection.length;
  byId("empty").hidden = selection.length > 0;
  layOut();
  if (active === 0) grid.scrollTop = 0;
  else reveal();
}

function layOut() {
  const width = canvas.clientWidth;
  if (!width) return; // another view is shown
  const least = width < NARROW ? NARROW_CELL_WIDTH : CELL_WIDTH;
  columns = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
  canvas.style.height = `${Math.ceil(selection.length / columns) * (CELL_HEIGHT + GAP)}px`;
  canvas.replaceChildren();
  cells.clear();
  draw();
}

/** Make the cells that are in view or close to it, and drop the others. */
function draw() {
  const row = CELL_HEIGHT + GAP;
  const first = Math.max(0, Math.floor(grid.scrollTop / row) - ROWS_AHEAD) * columns;
  const end = Math.min(selection.length, (Math.ceil((grid.scrollTop + grid.clientHeight) / row) + ROWS_AHEAD) * columns);
  for (const [place, cell] of cells) {
    if ((place < first || place >= end) && place !== active) {
      cell.remove();
      cells.delete(place);
    }
  }
  const missing = [];
  for (let place = first; place < end; place += 1) if (!cells.has(place)) missing.push(place);
  if (active < selection.length && !cells.has(active) && !missing.includes(active)) missing.push(active);
  canvas.append(...missing.map(makeCell));
}

/** Draw cells again whose images have changed. */
function redraw() {
  for (const [place, cell] of cells) {
    const fresh = makeCell(place);
    cell.replaceWith(fresh);
  }
}

function makeCell(place) {
  const image = selection[place];
  const width = (canvas.clientWidth + GAP) / columns;
  const cell = element(
    "div",
    { role: "option", id: `image-${image}`, className: "cell", "aria-label": described(image), dataset: { place } },
    frame(image),
    caption(image),
  );
  cell.setAttribute("aria-posinset", place + 1);
  cell.setAttribute("aria-setsize", selection.length);
  cell.style.left = `${(place % columns) * width}px`;
  cell.style.top = `${Math.floor(place / columns) * (CELL_HEIGHT + GAP)}px`;
  cell.style.width = `${width - GAP}px`;
  cell.style.height = `${CELL_HEIGHT}px`;
  cells.set(place, cell);
  mark(cell, place === active);
  return cell;
}

function mark(cell, isActive) {
  cell.setAttribute("aria-selected", String(isActive));
  if (isActive) grid.setAttribute("aria-activedescendant", cell.id);
}

function frame(image) {
  const address = thumbnail(image);
  const content = address
    ? element("img", { src: address, alt: "", loading: "lazy", decoding: "async", draggable: false })
    : element("span", { className: "missing" }, report.errors[image] ? shown(report.errors[image]) : "no thumbnail");
  return element("div", { className: "frame" }, content, ...badges(image));
}

// --- What is said of an image ---

/** What sets an image apart: [class, text]. */
function marks(image) {
  const found = [];
  const isCorrected = correctionOf(image) !== undefined;
  if (isCorrected) found.push(isChanged(image) ? ["changed", "changed"] : ["confirmed", "confirmed"]);
  if (report.statuses[image] === FAILED) found.push(["failed", "not read"]);
  if (report.statuses[image] === UNKNOWN && !isCorrected) found.push(["doubtful", "unknown"]);
  if (isWrong(image)) found.push(["failed", "wrong"]);
  return found;
}

const badges = (image) => marks(image).map(([kind, text]) => element("span", { className: `badge ${kind}` }, text));

/** The label of an image as it stands now, its score, and the label before or the true one. */
function caption(image) {
  const correction = correctionOf(image);
  const label = correction === undefined || IS_EVALUATION ? bestLabel(image) : correction;
  const scored = report.ranked[image].find(([ranked]) => ranked === label);
  const head = element("div", { className: "label" }, element("b", { title: labelName(label) }, labelName(label)));
  if (scored) head.append(element("span", { className: "score" }, number(scored[1])));
  return element("div", { className: "caption" }, head, element("div", { className: "sub" }, remark(image)), nameLine(image));
}

function remark(image) {
  const correction = correctionOf(image);
  if (IS_EVALUATION) {
    const truth = trueLabels(image).map(labelName).join(", ") || labelName(correction ?? null);
    return isWrong(image) || correction !== undefined ? `true: ${truth}` : meter(image);
  }
  return isChanged(image) ? `was ${shown(givenText(image)) || "no label"}` : meter(image);
}

/** A line as long as the best score, on which the margin is darker. */
function meter(image) {
  const score = bestScore(image);
  if (score === null || score < 0 || score > 1) return "";
  const margin = Math.min(report.margins[image] ?? score, score);
  const bar = (x, width, kind) => svg("rect", { x: 100 * x, y: 0, width: 100 * width, height: 4, class: kind });
  const bars = [bar(0, 1, "rail"), bar(0, score, "second"), bar(score - margin, margin, "first")];
  return svg("svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none", class: "meter", "aria-hidden": "true" }, ...bars);
}

const nameLine = (image) =>
  element("div", { className: "name", title: shown(report.names[image]) }, fileName(image));

/** An image in words, for those who do not see it. */
function described(image) {
  const best = bestLabel(image) === null ? [] : [`${labelName(bestLabel(image))} ${number(bestScore(image))}`];
  const correction = correctionOf(image);
  const set = correction === undefined ? [] : [`set to ${labelName(correction)}`];
  const error = report.errors[image] ? [shown(report.errors[image])] : [];
  return [shown(report.names[image]), ...best, ...marks(image).map(([, text]) => text), ...set, ...error].join(", ");
}

// --- Moving ---

/** Make another place active, and bring it into view. */
function activate(place) {
  if (!selection.length) return;
  const before = active;
  active = Math.min(Math.max(place, 0), selection.length - 1);
  reveal();
  draw();
  if (cells.has(before)) mark(cells.get(before), false);
  mark(cells.get(active), true);
}

function reveal() {
  const top = Math.floor(active / columns) * (CELL_HEIGHT + GAP);
  const bottom = top + CELL_HEIGHT + GAP;
  if (top < grid.scrollTop) grid.scrollTop = top;
  else if (bottom > grid.scrollTop + grid.clientHeight) grid.scrollTop = bottom - grid.clientHeight;
}

/** The place that a key leads to, or null. */
function placeAfter(key) {
  const page = Math.max(1, Math.floor(grid.clientHeight / (CELL_HEIGHT + GAP))) * columns;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -page, PageDown: page };
  if (key === "Home") return 0;
  if (key === "End") return selection.length - 1;
  if (!(key in steps)) return null;
  const place = active + steps[key];
  return place >= 0 && place < selection.length ? place : key.startsWith("Page") ? place : active;
}

grid.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
new ResizeObserver(() => layOut()).observe(grid);

grid.addEventListener("click", (event) => {
  const cell = event.target.closest(".cell");
  if (!cell) return;
  activate(Number(cell.dataset.place));
  openLarge();
});
