// One image large, with its labels as bars; a click on a label sets it, as its number does.

const large = byId("large");

function openLarge() {
  if (!selection.length) return;
  showLarge();
  if (!large.open) large.showModal();
  byId("large-name").focus();
}

function showLarge() {
  const image = activeImage();
  byId("large-name").textContent = shown(report.names[image]);
  byId("position").textContent = `${(active + 1).toLocaleString("en")} of ${selection.length.toLocaleString("en")}`;
  byId("previous").disabled = active === 0;
  byId("next").disabled = active === selection.length - 1;
  byId("open").hidden = !report.addresses[image]; // it lies in another file, or elsewhere
  byId("open").href = report.addresses[image];
  showFile(image);
  showState(image);
  showCells(image);
}

/** The image itself; its thumbnail where the browser does not show it, as with HEIC, or it lies elsewhere. */
function showFile(image) {
  const shownImage = byId("large-image");
  shownImage.alt = shown(report.names[image]);
  shownImage.classList.remove("small");
  byId("large-note").textContent = "";
  const isFile = report.addresses[image] !== "";
  const unseen = isFile ? "This browser cannot show the file, or it lies elsewhere now." : "The image is no file of its own.";
  shownImage.onerror = () => {
    shownImage.onerror = () => (shownImage.hidden = true);
    const address = thumbnail(image);
    byId("large-note").textContent = address
      ? `A thumbnail: ${unseen[0].toLowerCase()}${unseen.slice(1)}`
      : shown(report.errors[image] ?? unseen);
    shownImage.classList.add("small");
    if (address) shownImage.src = address;
    else shownImage.hidden = true;
  };
  shownImage.hidden = false;
  if (isFile) shownImage.src = report.addresses[image];
  else shownImage.onerror();
}

/** What may change while the image is shown: its labels, and what the user set. */
function showState(image) {
  const correction = correctionOf(image);
  const parts = marks(image).map(([kind, text]) => element("span", { className: `badge ${kind}` }, text));
  const texts = [];
  if (report.errors[image]) texts.push(shown(report.errors[image]));
  if (IS_EVALUATION) texts.push(`true label: ${report.truths[image].map(labelName).join(", ") || "none"}`);
  if (correction !== undefined) texts.push(`you set: ${labelName(correction)}`);
  if (report.margins[image] !== null) texts.push(`margin ${number(report.margins[image])}`);
  byId("large-state").replaceChildren(...parts, texts.join(" · "));
  const focused = [...byId("ranked").children].indexOf(document.activeElement);
  byId("ranked").replaceChildren(...report.ranked[image].map(([label, score], rank) => ranked(image, label, score, rank)));
  byId("ranked").children[focused]?.focus(); // the buttons are made anew
  byId("none").setAttribute("aria-pressed", String(correction === NONE));
  byId("undo").disabled = !undoable.length;
}

function ranked(image, label, score, rank) {
  const isSet = correctionOf(image) === label;
  const isTrue = IS_EVALUATION && report.truths[image].includes(label);
  const made = element(
    "button",
    { type: "button", className: isTrue ? "rank true" : "rank", "aria-pressed": String(isSet) },
    element("kbd", {}, rank < 9 ? String(rank + 1) : ""),
    element("span", { className: "text" }, labelName(label), isTrue ? element("small", {}, " true label") : ""),
    element("span", { className: "score" }, number(score)),
    bar(score),
  );
  made.addEventListener("click", () => setLabel(label));
  return made;
}

/** A bar as long as a score from 0 to 1; of a cosine, from 0. */
function bar(score) {
  const width = 100 * Math.min(Math.max(score ?? 0, 0), 1);
  const parts = [svg("rect", { width: 100, height: 6, class: "rail" }), svg("rect", { width, height: 6, class: "first" })];
  return svg("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", class: "meter", "aria-hidden": "true" }, ...parts);
}

function showCells(image) {
  const filled = report.columns.map((name, index) => [name, report.cells[image][index]]).filter(([, cell]) => cell);
  byId("cells").replaceChildren(
    ...filled.map(([name, cell]) => element("div", {}, element("dt", {}, shown(name)), element("dd", {}, shown(cell)))),
  );
}

// --- Actions ---

/** Set the label of the active image. */
function setLabel(label) {
  const image = activeImage();
  if (image === undefined || IS_GALLERY) return;
  correct(image, label);
  tellDone(`${fileName(image)}: ${label === bestLabel(image) && !isChanged(image) ? "confirmed as " : ""}${labelName(label)}`);
}

function setRanked(rank) {
  const found = selection.length ? report.ranked[activeImage()][rank] : undefined;
  if (found) setLabel(found[0]);
}

function undoLast() {
  const image = undo();
  tell(image === null ? "Nothing to undo" : `${fileName(image)}: correction undone`);
}

function step(by) {
  activate(active + by);
  showLarge();
}

async function copyPath() {
  const text = shown(report.names[activeImage()]);
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyBySelection(text);
  }
  tell("Path copied");
}

/** Copying where the page may not use the clipboard by itself. */
function copyBySelection(text) {
  const area = element("textarea", { value: text, className: "hidden" });
  large.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("close").addEventListener("click", () => large.close());
byId("copy").addEventListener("click", copyPath);
byId("other").addEventListener("click", () => openPicker());
byId("none").addEventListener("click", () => setLabel(NONE));
byId("undo").addEventListener("click", undoLast);
large.addEventListener("close", () => grid.focus());
large.addEventListener("click", (event) => event.target === large && large.close()); // beside the dialog
whenCorrected.push(() => large.open && showState(activeImage()));
