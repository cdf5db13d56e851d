"use strict";
// The data of the report, and what is computed from it: one list per property, with an entry for each image.

const report = JSON.parse(document.getElementById("data").textContent);
const COUNT = report.names.length;
const OK = 0, UNKNOWN = 1, FAILED = 2; // entries of report.statuses
const NONE = -1; // the label "none of these"
const IS_EVALUATION = report.truths !== null;
const IS_GALLERY = report.gallery; // of what a search found: there is nothing to correct

const byId = (id) => document.getElementById(id);

// --- Elements ---

/** An element with properties (`dataset` and `aria-…` too) and children, which are elements or texts. */
function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) setProperty(made, key, value);
  made.append(...children);
  return made;
}

function setProperty(made, key, value) {
  if (key === "dataset") Object.assign(made.dataset, value);
  else if (key.includes("-") || key === "role") made.setAttribute(key, value);
  else made[key] = value;
}

/** An SVG element with attributes and children. */
function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// --- Texts ---

/** A text as it can be shown: bytes of a name that are no text as \xNN, halves of characters as \uNNNN. */
function shown(text) {
  return text.replace(/[\ud800-\udfff]/gu, (half) => {
    const code = half.charCodeAt(0);
    return code >= 0xdc80 && code <= 0xdcff ? `\\x${(code - 0xdc00).toString(16)}` : `\\u${code.toString(16)}`;
  });
}

/** A text without the differences of case and composition, to search in. */
const folded = (text) => text.normalize("NFC").toLowerCase();

const number = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));
const short = (value) => String(Number(value.toFixed(3))); // 0.5, not 0.500
const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
const percent = (share) => `${(100 * share).toFixed(1)} %`;

// --- Images ---

const bestLabel = (image) => (report.ranked[image].length ? report.ranked[image][0][0] : null);
const bestScore = (image) => (report.ranked[image].length ? report.ranked[image][0][1] : null);

/** The name of an image's file, without its folders. */
const fileName = (image) => shown(report.names[image]).replace(/^.*[/\\]/, "") || shown(report.names[image]);

/** The label of a number; `NONE` and null have names too. */
function labelName(label) {
  if (label === NONE) return "none of these";
  return label === null ? "no label" : shown(report.labels[label]);
}

// Images of the same name, as an input that is named twice has, are corrected together.
const firstOfName = new Map();
const keyOf = report.names.map((name, image) => {
  if (!firstOfName.has(name)) firstOfName.set(name, image);
  return firstOfName.get(name);
});

// --- Thumbnails ---

const unpacked = new Map();

/** The address of an image's thumbnail, or null. Those in the page are unpacked when they are first needed. */
function thumbnail(image) {
  if (report.thumbnails) {
    const name = report.thumbnails[image];
    return name && `${report.folder}/${name}`;
  }
  const block = Math.floor(image / report.block);
  if (!unpacked.has(block)) {
    unpacked.set(block, JSON.parse(byId(`thumbnails-${block}`).textContent));
  }
  const content = unpacked.get(block)[image % report.block];
  return content && `data:image/webp;base64,${content}`;
}
