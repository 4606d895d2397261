// Rows of preferences.

let rows = 0;
const grow = (area) => {
  if (CSS.supports("field-sizing", "content")) return;
  area.rows = Math.min(10, Math.max(Number(area.dataset.rows ?? area.rows), area.value.split("\n").length));
};
class Rows {
  constructor(list, changed) {
    this.list = list;
    this.changed = changed;
  }

  // A row keeps what it does not show, such as a preference's conditions.
  add(preference = { text: "", weight: 1 }) {
    const row = $("row").content.firstElementChild.cloneNode(true);
    const [text, weight] = [row.querySelector(".text"), row.querySelector(".weight")];
    const id = `row-${(rows += 1)}`;
    row.given = preference;
    text.id = id;
    weight.id = `${id}-weight`;
    row.querySelector(".name").htmlFor = id;
    row.querySelector(".weight-label").htmlFor = weight.id;
    row.querySelector(".error").id = `${id}-error`;
    text.setAttribute("aria-describedby", `${id}-error`);
    text.value = preference.text;
    weight.step = Number.isInteger(Math.round(preference.weight * 1e6) / 5e4) ? 0.05 : "any";
    weight.value = preference.weight;
    row.querySelector(".remove").addEventListener("click", () => this.remove(row));
    row.addEventListener("input", () => this.show(row));
    const terms = conditionsOf(preference);
    row.querySelector(".conditions").hidden = !terms;
    row.querySelector(".conditions").textContent = terms;
    this.list.append(row);
    this.show(row);
    this.number();
    return row;
  }

  remove(row) {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    this.number();
    this.changed();
    (next?.querySelector(".text") ?? this.list.nextElementSibling).focus();
  }

  show(row) {
    const [text, weight] = [row.querySelector(".text"), row.querySelector(".weight")];
    const words = weightWords(Number(weight.value));
    row.querySelector(".amount").textContent = words;
    weight.setAttribute("aria-valuetext", words);
    const hidden = split(text.value, true).length > 1;
    row.querySelector(".hidden-signs").hidden = !hidden;
    row.querySelector(".hidden-signs").textContent = hidden ? `With hidden characters: ${flat(text.value, true)}` : "";
    this.complain(row, "");
    grow(text);
    this.changed();
  }

  number() {
    const all = [...this.list.children];
    all.forEach((row, at) => {
      const name = row.given.name ? flat(row.given.name) : all.length > 1 ? `Preference ${at + 1}` : "Preference";
      row.querySelector(".name").textContent = name;
      row.querySelector(".weight").setAttribute("aria-label", `Weight of ${name}`);
      row.querySelector(".remove").setAttribute("aria-label", `Remove ${name}`);
    });
  }

  complain(row, message) {
    const [text, error] = [row.querySelector(".text"), row.querySelector(".error")];
    error.hidden = !message;
    error.textContent = message;
    if (message) text.setAttribute("aria-invalid", "true");
    else text.removeAttribute("aria-invalid");
  }

  // Shows what the server refuses at the row that it means, if it means one.
  mark({ message, param }) {
    const [, index] = /^amulet\.preference\[(\d+)\]/.exec(param ?? "") ?? [];
    const row = index && this.list.children[index];
    if (row) this.complain(row, flat(message));
  }

  // Returns the preferences; null where one is empty, which is said at its place.
  read() {
    const all = [...this.list.children];
    const empty = all.find((row) => !row.querySelector(".text").value.trim());
    if (empty) {
      this.complain(empty, "Write what you like, or remove this one.");
      if (empty.closest("details")) empty.closest("details").open = true;
      empty.querySelector(".text").focus();
      return null;
    }
    return all.map((row) => ({
      ...row.given,
      text: row.querySelector(".text").value.trim(),
      weight: Number(row.querySelector(".weight").value),
    }));
  }

  // What stands there now, also where it is not complete.
  draft() {
    return [...this.list.children].map((row) => ({
      ...row.given, text: row.querySelector(".text").value, weight: Number(row.querySelector(".weight").value),
    }));
  }

  fill(preferences) {
    this.list.replaceChildren();
    preferences.forEach((it) => this.add(it));
  }
}
const conditionsOf = (preference) => {
  const parts = Object.entries(preference.when ?? {}).map(([name, value]) => `where ${flat(name)} is ${flat(value)}`);
  if (preference.valid_from) parts.push(`from ${moment(preference.valid_from)}`);
  if (preference.valid_until) parts.push(`until ${moment(preference.valid_until)}`);
  return parts.length ? `Applies ${parts.join(", ")}.` : "";
};
const listed = (preferences) => {
  const list = make("ul", "listed");
  list.role = "list";
  for (const it of preferences) {
    const text = make("bdi", "", ...(it.name ? visible(`${it.name}: ${it.text}`) : visible(it.text)));
    const row = make("li", "", text, " ", make("small", "", `weight ${short(it.weight ?? 1)}`));
    if (conditionsOf(it)) row.append(make("small", "", ` · ${conditionsOf(it)}`));
    list.append(row);
  }
  return list;
};
