// Corrections: what the user says that an image shows. They are kept in this browser, and go to a file.

const STORED_AS = `clipcli-corrections-${report.digest}`;
const HEADER = ["image", "label", "was"];

const corrections = new Map(); // the key of an image -> the number of a label, or NONE
const undoable = []; // [key, what was there before, or undefined]
const whenCorrected = []; // functions that are told
let isKept = true; // whether this browser keeps them

/** The label that the user gave an image: a number, `NONE`, or undefined. */
const correctionOf = (image) => corrections.get(keyOf[image]);

/** The label that the output of the run has: the true one in an evaluation, otherwise the best one. */
function givenLabel(image) {
  if (IS_EVALUATION && report.truths[image].length) return report.truths[image][0];
  return report.statuses[image] === OK ? bestLabel(image) : null;
}

/** What `was` says: the true labels of an evaluation, or the label in the output. */
function givenText(image) {
  if (IS_EVALUATION) return report.truths[image].map((label) => report.labels[label]).join("|");
  if (report.statuses[image] === UNKNOWN) return "unknown";
  const label = givenLabel(image);
  return label === null ? "" : report.labels[label];
}

/** Whether the user changed the label; one that was only confirmed is not changed. */
function isChanged(image) {
  const label = correctionOf(image);
  return label !== undefined && (label === NONE || report.labels[label] !== givenText(image));
}

/** The labels that an image is believed to have: as corrected, else the true ones of an evaluation. */
function trueLabels(image) {
  const label = correctionOf(image);
  if (label === NONE) return [];
  return label === undefined ? report.truths[image] : [label];
}

/** Whether the best label is none of the true ones. */
function isWrong(image) {
  if (!IS_EVALUATION || report.statuses[image] === FAILED) return false;
  const truth = trueLabels(image);
  return truth.length > 0 && !truth.includes(bestLabel(image));
}

// --- Changes ---

function correct(image, label) {
  const key = keyOf[image];
  if (corrections.get(key) === label) return;
  undoable.push([key, corrections.get(key)]);
  corrections.set(key, label);
  corrected();
}

/** Take the last correction back; returns its image, or null if there is none. */
function undo() {
  if (!undoable.length) return null;
  const [key, before] = undoable.pop();
  if (before === undefined) corrections.delete(key);
  else corrections.set(key, before);
  corrected();
  return key;
}

function corrected() {
  store();
  whenCorrected.forEach((show) => show());
}

/** Say what was done, and what to do where it is not kept. */
function tellDone(text) {
  tell(isKept ? text : `${text} (not kept by this browser: export corrections before you close the page)`);
}

/** The number of a label, which is added if it is new. */
function labelNumber(label) {
  const known = report.labels.indexOf(label);
  return known >= 0 ? known : report.labels.push(label) - 1;
}

// --- Kept in this browser ---

function store() {
  const kept = [...corrections].map(([key, label]) => [key, label === NONE ? "" : report.labels[label]]);
  try {
    if (kept.length) localStorage.setItem(STORED_AS, JSON.stringify(kept));
    else localStorage.removeItem(STORED_AS);
    isKept = true;
  } catch {
    isKept = false;
  }
}

function restore() {
  corrections.clear();
  try {
    for (const [key, label] of JSON.parse(localStorage.getItem(STORED_AS) ?? "[]")) {
      corrections.set(key, label === "" ? NONE : labelNumber(label));
    }
  } catch {
    // nothing is kept here, or nothing that can be read
  }
}

// --- In files ---

/** The corrections as CSV (RFC 4180), in the order of the images; names are written as they are shown. */
function asCsv() {
  const rows = [...corrections.keys()].sort((one, other) => one - other).map((image) => {
    const label = corrections.get(image);
    return [report.names[image], label === NONE ? "" : report.labels[label], givenText(image)];
  });
  return [HEADER, ...rows].map((cells) => cells.map(quoted).join(",") + "\r\n").join("");
}

function quoted(cell) {
  const text = shown(cell);
  return /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function exportCorrections() {
  const link = element("a", { download: "corrections.csv" });
  link.href = URL.createObjectURL(new Blob([asCsv()], { type: "text/csv" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  tell(`${plural(corrections.size, "correction")} exported`);
}

/** Take the corrections of a file over. */
async function importCorrections(file) {
  const [header = [], ...rows] = parsedCsv(await file.text());
  const [imageColumn, labelColumn] = HEADER.map((name) => header.indexOf(name));
  if (imageColumn < 0 || labelColumn < 0) {
    tell(`${file.name} has no columns image and label`);
    return;
  }
  const images = new Map([...firstOfName].map(([name, image]) => [shown(name), image]));
  const known = rows.filter((row) => images.has(row[imageColumn]));
  for (const row of known) {
    const image = images.get(row[imageColumn]);
    undoable.push([image, corrections.get(image)]);
    corrections.set(image, row[labelColumn] ? labelNumber(row[labelColumn]) : NONE);
  }
  corrected();
  const others = rows.length - known.length;
  tellDone(
    `${plural(known.length, "correction")} imported` + (others ? `, ${plural(others, "row")} of other images left out` : ""),
  );
}

/** The rows of a CSV; empty lines are none. */
function parsedCsv(text) {
  const rows = [];
  let row = [];
  for (const [, quotedCell, plainCell, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^,\r\n]*))(,|\r\n|\n|\r|$)/g)) {
    row.push(quotedCell === undefined ? plainCell : quotedCell.replaceAll('""', '"'));
    if (end === ",") continue;
    if (row.length > 1 || row[0]) rows.push(row);
    row = [];
  }
  return rows;
}
