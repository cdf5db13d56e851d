// The controls around the grid, the keyboard, and the start.

const MOST_LABELS = 300; // in the list of labels; others are found by typing
const MANY_LABELS = 10; // from here on, there is a field to find one

let labelCounts = [];

// --- Controls ---

/** Select, and show everything anew; the active image stays active where it can. */
function refresh() {
  const kept = activeImage();
  labelCounts = select();
  showSelection(kept);
  showControls();
}

function showControls() {
  byId("count").textContent = selection.length === COUNT ? plural(COUNT, "image") : `${selection.length.toLocaleString("en")} of ${plural(COUNT, "image")}`;
  byId("sort").value = sortedBy;
  showShows();
  showLabels();
  showChips();
  const count = corrections.size;
  byId("export").disabled = count === 0;
  byId("export").textContent = count ? `Export ${plural(count, "correction")}` : "Export corrections";
}

function showShows() {
  const always = IS_GALLERY ? [ALL] : [ALL, LOOK];
  const made = Object.entries(SHOWS).map(([show, [name, passes]]) => {
    let count = 0;
    for (let image = 0; image < COUNT; image += 1) count += passes(image);
    if (!count && !always.includes(show) && filters.show !== show) return null;
    return option(name, count, filters.show === show, () => (filters.show = show), show);
  });
  byId("shows").replaceChildren(...made.filter(Boolean));
  byId("threshold-row").hidden = report.margins.every((margin) => margin === null);
}

/** A button with a count, which is pressed while its filter is on. */
function option(name, count, isOn, change, key, share = null) {
  const made = element(
    "button",
    { type: "button", className: "option", "aria-pressed": String(isOn), dataset: { key } },
    element("span", { className: "text", title: name }, name),
    element("span", { className: "count" }, count.toLocaleString("en")),
  );
  if (share !== null) made.append(countBar(share));
  made.addEventListener("click", () => {
    change();
    refresh();
    document.querySelector(`.option[data-key="${key}"]`)?.focus(); // the buttons are made anew
  });
  return made;
}

function showLabels() {
  const text = folded(byId("label-search").value.trim());
  const inOrder = [...labelCounts.keys()].filter((label) => labelCounts[label] || filters.labels.has(label));
  inOrder.sort((one, other) => labelCounts[other] - labelCounts[one] || one - other);
  const named = text ? inOrder.filter((label) => folded(labelName(label)).includes(text)) : inOrder;
  const most = Math.max(1, ...labelCounts);
  const made = named.slice(0, MOST_LABELS).map((label) => labelOption(label, labelCounts[label] / most));
  if (named.length > MOST_LABELS) made.push(element("p", {}, `${plural(named.length - MOST_LABELS, "more label")}: type to find them`));
  byId("labels").replaceChildren(...made);
  byId("label-search").hidden = !text && inOrder.length < MANY_LABELS && byId("label-search").hidden;
  for (const one of byId("label-kind").children) one.setAttribute("aria-pressed", String(one.dataset.kind === filters.labelKind));
}

function labelOption(label, share) {
  const isOn = filters.labels.has(label);
  const change = () => (isOn ? filters.labels.delete(label) : filters.labels.add(label));
  return option(labelName(label), labelCounts[label], isOn, change, `label-${label}`, share);
}

/** What is filtered by besides the controls at the side. */
function showChips() {
  const { range, pair, labels } = filters;
  const chips = [];
  if (range) chips.push(chip(`${range.of} ${number(range.low)} to ${number(range.high)}`, () => (filters.range = null)));
  if (pair) chips.push(chip(`${labelName(pair.truth)} taken for ${labelName(pair.best)}`, () => (filters.pair = null)));
  for (const label of labels) chips.push(chip(labelName(label), () => labels.delete(label)));
  byId("chips").replaceChildren(...chips);
}

function chip(text, remove) {
  const made = element("button", { type: "button", className: "chip", "aria-label": `Remove filter: ${text}` }, text, element("span", { "aria-hidden": "true" }, " ✕"));
  made.addEventListener("click", () => {
    remove();
    refresh();
    grid.focus();
  });
  return made;
}

function clearAll() {
  clearFilters();
  byId("search").value = "";
  refresh();
}

// --- Views ---

function openTab(name) {
  for (const one of ["images", "overview"]) {
    const isOpen = one === name;
    byId(`view-${one}`).hidden = !isOpen;
    byId(`tab-${one}`).setAttribute("aria-selected", String(isOpen));
    byId(`tab-${one}`).tabIndex = isOpen ? 0 : -1;
  }
  if (name === "overview") showOverview();
  else layOut();
}

const openView = () => (byId("view-overview").hidden ? "images" : "overview");
const otherView = () => (openView() === "images" ? "overview" : "images");

let toastTimer = 0;

/** Say something for some seconds, to screen readers too. */
function tell(text) {
  const toast = byId("toast");
  (document.querySelector("dialog[open]") ?? document.body).append(toast); // what is beside a dialog is not heard
  toast.textContent = text;
  toast.classList.add("visible");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => toast.classList.remove("visible"), 2500);
}

// --- Keyboard ---

const isTyping = (target) => target.matches("input, textarea, select") || picker.open || byId("help-dialog").open;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (actOn(event.key, event.target)) event.preventDefault();
});

/** What a key does; returns whether it did anything. */
function actOn(key, target) {
  if (key === "?") return done(() => byId("help-dialog").showModal());
  if (!large.open && key === "/") return done(goToSearch);
  if (!large.open && key.toLowerCase() === "v") return done(() => openTab(otherView()));
  if (openView() === "overview" && !large.open) return false;
  if (actOnImage(key)) return true;
  if (large.open) return key in STEPS && done(() => step(STEPS[key]));
  return target === grid || target === document.body ? moveInGrid(key) : false;
}

const STEPS = { ArrowLeft: -1, ArrowRight: 1 };

function done(act) {
  act();
  return true;
}

function goToSearch() {
  openTab("images");
  byId("search").focus();
}

/** Correct the active image. */
function actOnImage(key) {
  if (IS_GALLERY) return false;
  if (/^[1-9]$/.test(key)) return done(() => setRanked(Number(key) - 1));
  const acts = { 0: () => setLabel(NONE), x: () => setLabel(NONE), l: openPicker, u: undoLast };
  const act = acts[key.toLowerCase()];
  return act && selection.length ? done(act) : false;
}

function moveInGrid(key) {
  if (key === "Enter" || key === " ") return done(openLarge);
  const place = placeAfter(key);
  if (place === null) return false;
  grid.focus();
  return done(() => activate(place));
}

// --- Start ---

function listen() {
  byId("search").addEventListener("input", (event) => {
    filters.words = folded(event.target.value).split(/\s+/).filter(Boolean);
    refresh();
  });
  byId("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "ArrowDown") grid.focus();
    if (event.key === "Escape" && !event.target.value) grid.focus();
  });
  byId("label-search").addEventListener("input", showLabels);
  byId("sort").addEventListener("change", (event) => {
    sortedBy = event.target.value;
    orders.delete(sortedBy); // chosen anew, it takes corrections and the threshold into account
    refresh();
    activate(0);
  });
  byId("threshold").addEventListener("change", (event) => {
    filters.threshold = event.target.valueAsNumber || 0;
    refresh();
  });
  for (const one of byId("label-kind").children) {
    one.addEventListener("click", () => {
      filters.labelKind = one.dataset.kind;
      filters.labels.clear();
      refresh();
    });
  }
  byId("clear").addEventListener("click", clearAll);
  byId("export").addEventListener("click", exportCorrections);
  byId("import").addEventListener("click", () => byId("import-file").click());
  byId("import-file").addEventListener("change", async (event) => {
    await importCorrections(event.target.files[0]);
    event.target.value = "";
  });
  byId("help").addEventListener("click", () => byId("help-dialog").showModal());
  document.querySelector(".tabs").addEventListener("click", (event) => event.target.id && openTab(event.target.id.replace("tab-", "")));
  document.querySelector(".tabs").addEventListener("keydown", (event) => {
    if (!(event.key in STEPS)) return;
    openTab(otherView());
    byId(`tab-${openView()}`).focus();
  });
  window.addEventListener("storage", (event) => {
    if (event.key !== STORED_AS) return; // another tab with the same report
    restore();
    whenCorrected.forEach((show) => show());
  });
}

/** What corrections change: the cells in view and the counts; the selection stays, so that no image runs away. */
whenCorrected.push(() => {
  redraw();
  const kept = selection;
  labelCounts = select();
  selection = kept;
  showControls();
  if (openView() === "overview") showOverview();
});

function start() {
  const made = report.model ? ` · model ${shown(report.model)}` : "";
  byId("about").textContent = `${plural(COUNT, "image")}${made} · clipcli ${report.version}`;
  const sorts = Object.entries(ORDERS).filter(([order]) => (IS_EVALUATION || order !== WRONG) && !(IS_GALLERY && order === LOOK));
  byId("sort").append(...sorts.map(([value, [text]]) => element("option", { value }, text)));
  byId("label-kind").hidden = !IS_EVALUATION;
  document.documentElement.classList.toggle("gallery", IS_GALLERY);
  if (IS_GALLERY) byId("labels-title").textContent = "Found for";
  byId("threshold").value = filters.threshold;
  if (matchMedia("(max-width: 760px)").matches) byId("more-filters").open = false;
  restore();
  listen();
  refresh();
  grid.focus({ preventScroll: true });
  whenIdle(prepareSearch);
  document.documentElement.dataset.ready = Math.round(performance.now());
}

start();
