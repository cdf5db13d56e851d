// Choose any label: those of the run, those in the data, or a new one.

const MOST_CHOICES = 200;

const picker = byId("picker"), pickerInput = byId("picker-input"), pickerList = byId("picker-list");
let choices = []; // [number of the label, or null for a new one; text]
let chosen = 0;

function openPicker() {
  if (!selection.length) return;
  byId("picker-image").textContent = shown(report.names[activeImage()]);
  pickerInput.value = "";
  offer();
  picker.showModal();
  pickerInput.focus();
}

/** The labels that hold what was typed: those that begin with it first; without it, those of the image. */
function found(text) {
  const ofImage = report.ranked[activeImage()].map(([label]) => label);
  const all = [...new Set([...(text ? [] : ofImage), ...report.labels.keys()])];
  const named = all.map((label) => [label, labelName(label)]).filter(([, name]) => folded(name).includes(text));
  const place = ([, name]) => (folded(name).startsWith(text) ? 0 : 1);
  return text ? named.sort((one, other) => place(one) - place(other)) : named;
}

function offer() {
  const text = pickerInput.value.trim();
  const matching = found(folded(text));
  choices = matching.slice(0, MOST_CHOICES);
  if (text && !matching.some(([, name]) => name === text)) choices.push([null, text]);
  chosen = 0;
  const left = matching.length - MOST_CHOICES;
  pickerList.replaceChildren(...choices.map(choice));
  if (left > 0) pickerList.append(element("p", { role: "presentation" }, `${plural(left, "more label")}: type to find them`));
  markChoice();
}

function choice([label, name], index) {
  const text = label === null ? `New label “${name}”` : name;
  const made = element("div", { role: "option", id: `choice-${index}`, className: "choice" }, text);
  made.addEventListener("click", () => choose(index));
  return made;
}

function markChoice() {
  [...pickerList.querySelectorAll(".choice")].forEach((one, index) => one.setAttribute("aria-selected", String(index === chosen)));
  const now = byId(`choice-${chosen}`);
  if (now) {
    pickerInput.setAttribute("aria-activedescendant", now.id);
    now.scrollIntoView({ block: "nearest" });
  } else pickerInput.removeAttribute("aria-activedescendant");
}

function choose(index) {
  if (!choices[index]) return;
  const [label, name] = choices[index];
  picker.close();
  setLabel(label ?? labelNumber(name));
}

pickerInput.addEventListener("input", offer);
pickerInput.addEventListener("keydown", (event) => {
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
  if (event.key in steps) {
    chosen = Math.min(Math.max(chosen + steps[event.key], 0), choices.length - 1);
    markChoice();
    event.preventDefault();
  } else if (event.key === "Enter") {
    choose(chosen);
    event.preventDefault();
  }
});
picker.addEventListener("close", () => (large.open ? byId("other") : grid).focus());
picker.addEventListener("click", (event) => event.target === picker && picker.close()); // beside the dialog
