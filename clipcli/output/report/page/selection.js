// Which images are shown, in which order: filters, search and sorting.

const ALL = "all", LOOK = "look", WRONG = "wrong", NO_LABEL = "unknown", ERROR = "failed", DONE = "corrected";
const MARGIN_TO_LOOK_AT = 0.2;
const SHARE_TO_LOOK_AT = 0.2; // where margins are small throughout, as those of cosines: of all images

const filters = {
  show: ALL,
  words: [],
  labels: new Set(), // numbers; none: all of them
  labelKind: IS_EVALUATION ? "truth" : "best", // which label of an image `labels` and the counts are about
  range: null, // {of: "score" | "margin", low, high}
  pair: null, // {truth, best}: one cell of the confusion matrix
  threshold: usualThreshold(),
};
const AS_FOUND = "input";
let sortedBy = IS_GALLERY ? AS_FOUND : IS_EVALUATION ? WRONG : LOOK;
let selection = []; // the images that are shown, in order

// --- What to look at ---

/** Below which margin an image should be looked at: two digits. */
function usualThreshold() {
  const margins = report.margins.filter((margin) => margin !== null).sort((one, other) => one - other);
  if (!margins.length || margins[margins.length - 1] >= 0.5) return MARGIN_TO_LOOK_AT;
  return Number(margins[Math.floor(SHARE_TO_LOOK_AT * (margins.length - 1))].toPrecision(2));
}

/** Whether an image should be looked at, and the user has not done so yet. */
function needsALook(image) {
  if (correctionOf(image) !== undefined) return false;
  if (report.statuses[image] !== OK) return true;
  return report.margins[image] !== null && report.margins[image] < filters.threshold;
}

const SHOWS = {
  [ALL]: ["All", () => true],
  [WRONG]: ["Wrong", isWrong],
  [LOOK]: ["Needs a look", needsALook],
  [NO_LABEL]: ["Unknown", (image) => report.statuses[image] === UNKNOWN],
  [ERROR]: ["Not read", (image) => report.statuses[image] === FAILED],
  [DONE]: ["Corrected", (image) => correctionOf(image) !== undefined],
};

// --- Search ---

const texts = []; // what is searched, folded, of each image; made while the browser has nothing else to do

function searchedText(image) {
  const labels = [bestLabel(image), ...(IS_EVALUATION ? report.truths[image] : [])].filter((label) => label !== null);
  const parts = [report.names[image], ...labels.map((label) => report.labels[label]), ...report.cells[image]];
  return folded(shown([...parts, report.errors[image] ?? ""].join("\n")));
}

/** Make the texts of some more images, until the time is up. */
function prepareSearch(deadline) {
  while (texts.length < COUNT && deadline.timeRemaining() > 1) texts.push(searchedText(texts.length));
  if (texts.length < COUNT) whenIdle(prepareSearch);
}

const whenIdle = (act) => (window.requestIdleCallback ? requestIdleCallback(act) : null); // Safari has none

function hasWords(image) {
  while (texts.length < COUNT) texts.push(searchedText(texts.length));
  const correction = correctionOf(image);
  const own = correction === undefined ? "" : folded(labelName(correction));
  return filters.words.every((word) => texts[image].includes(word) || own.includes(word));
}

// --- Filters ---

/** The labels by which an image is counted and filtered. */
function labelsOf(image) {
  if (filters.labelKind === "truth") return trueLabels(image);
  const label = IS_EVALUATION ? bestLabel(image) : (correctionOf(image) ?? givenLabel(image));
  return label === null || label === NONE ? [] : [label];
}

function isInRange(image) {
  const { of, low, high } = filters.range;
  const value = of === "score" ? bestScore(image) : report.margins[image];
  return value !== null && value >= low && value <= high;
}

const isPair = (image) => bestLabel(image) === filters.pair.best && trueLabels(image).includes(filters.pair.truth);

/** The images that pass all filters but that by label. */
function passingOthers() {
  const tests = [SHOWS[filters.show][1]];
  if (filters.range) tests.push(isInRange);
  if (filters.pair) tests.push(isPair);
  if (filters.words.length) tests.push(hasWords);
  return ordered().filter((image) => tests.every((passes) => passes(image)));
}

/** Select the images anew; returns how many of those that pass the other filters have which label. */
function select() {
  const passing = passingOthers();
  const counts = new Array(report.labels.length).fill(0);
  for (const image of passing) for (const label of labelsOf(image)) counts[label] += 1;
  selection = filters.labels.size
    ? passing.filter((image) => labelsOf(image).some((label) => filters.labels.has(label)))
    : passing;
  return counts;
}

function clearFilters() {
  Object.assign(filters, { show: ALL, words: [], range: null, pair: null });
  filters.labels.clear();
}

const isFiltered = () =>
  filters.show !== ALL || filters.words.length > 0 || filters.labels.size > 0 || filters.range || filters.pair;

// --- Order ---

const last = (value, sign) => (value === null || value === undefined ? Infinity : sign * value);

/** How far the best label of a wrong image is ahead of the true one; where that is unknown, its score. */
function lead(image) {
  const truth = trueLabels(image);
  const right = report.ranked[image].find(([label]) => truth.includes(label));
  return (bestScore(image) ?? 0) - (right?.[1] ?? 0);
}

/** Failures, then unknown ones, then the smallest margins; without margins, the lowest scores. */
function byNeed(image) {
  const group = [2, 1, 0][report.statuses[image]];
  return [group, last(report.margins[image] ?? bestScore(image), 1)];
}

function byError(image) {
  return isWrong(image) ? [-1, -lead(image)] : byNeed(image);
}

const ORDERS = {
  [LOOK]: ["needs a look first", byNeed],
  [WRONG]: ["wrong first", byError],
  "score-up": ["score, lowest first", (image) => [last(bestScore(image), 1), 0]],
  "score-down": ["score, highest first", (image) => [last(bestScore(image), -1), 0]],
  "margin-up": ["margin, smallest first", (image) => [last(report.margins[image], 1), 0]],
  "margin-down": ["margin, largest first", (image) => [last(report.margins[image], -1), 0]],
  "name-up": ["name, A to Z", (image) => [placesByName()[image], 0]],
  "name-down": ["name, Z to A", (image) => [-placesByName()[image], 0]],
  [AS_FOUND]: [IS_GALLERY ? "as found" : "order of the input", (image) => [image, 0]],
};
const orders = new Map(); // those computed so far: corrections do not change them, so that no image runs away

function ordered() {
  if (!orders.has(sortedBy)) orders.set(sortedBy, sorted(ORDERS[sortedBy][1]));
  return orders.get(sortedBy);
}

/** All images by keys of two numbers; equal ones in the order of the input. */
function sorted(key) {
  const keys = report.names.map((_, image) => key(image));
  const compare = (one, other) => difference(keys[one][0], keys[other][0]) || difference(keys[one][1], keys[other][1]);
  return report.names.map((_, image) => image).sort((one, other) => compare(one, other) || one - other);
}

const difference = (one, other) => (one === other ? 0 : one - other); // two infinities have none

let nameOrder = null;

/** The place of each image among all names, with numbers in them as numbers. */
function placesByName() {
  if (!nameOrder) {
    const { compare } = new Intl.Collator(undefined, { numeric: true });
    const images = report.names.map((_, image) => image);
    images.sort((one, other) => compare(report.names[one], report.names[other]) || one - other);
    nameOrder = [];
    images.forEach((image, place) => (nameOrder[image] = place));
  }
  return nameOrder;
}
