// The form of a profile, and what its fields say in words.

const profileRows = new Rows($("profile-rows"), () => {});
const NOTHING_STORED = { preferences: [], guidance_scale: null, params: null, preset: null, max_kl: "default", gate: "default", method: null, parent: null };

const fieldsOf = (profile) =>
  Object.fromEntries(Object.entries(NOTHING_STORED).map(([name, usual]) => [name, profile && name in profile ? profile[name] : usual]));

class ProfileForm {
  constructor() {
    this.params = null;
    this.gate = "default";
    $("profile").addEventListener("change", () => this.show());
    $("add-profile").addEventListener("click", () => profileRows.add().querySelector(".text").focus());
  }

  fill(fields) {
    profileRows.fill(fields.preferences);
    this.params = fields.params;
    this.gate = fields.gate;
    $("profile-strength").querySelector("[value=params]").hidden = !fields.params;
    const isNumber = typeof fields.guidance_scale === "number";
    $("profile-strength").value = isNumber ? "number" : fields.params ? "params" : (fields.preset ?? "");
    $("profile-scale").value = isNumber ? fields.guidance_scale : settings.defaultScale;
    $("profile-bound").value = fields.max_kl === null ? "none" : fields.max_kl === "default" ? "default" : "own";
    $("profile-bound-number").value = typeof fields.max_kl === "number" ? fields.max_kl : 0.1;
    $("profile-method").value = fields.method ?? "";
    $("profile-parent").value = fields.parent ?? "";
    this.show();
  }

  show() {
    $("profile-scale").hidden = $("profile-strength").value !== "number";
    $("profile-bound-number").hidden = $("profile-bound").value !== "own";
  }

  // What stands in the form; its preferences may be incomplete.
  draft() {
    const strength = $("profile-strength").value;
    return {
      preferences: profileRows.draft(),
      guidance_scale: strength === "number" ? Number($("profile-scale").value) : null,
      params: strength === "params" ? this.params : null,
      preset: ["number", "params", ""].includes(strength) ? null : strength,
      max_kl: boundOf($("profile-bound"), $("profile-bound-number")),
      gate: this.gate,
      method: $("profile-method").value || null,
      parent: $("profile-parent").value.trim() || null,
    };
  }

  // The same, to be saved; null where something is missing, which is said at its place.
  read() {
    const preferences = profileRows.read();
    return preferences && { ...this.draft(), preferences };
  }
}

const strengthOf = (fields) => {
  if (typeof fields.guidance_scale === "number") return `strength ${short(fields.guidance_scale)}`;
  if (fields.preset) return `strength ${fields.preset}`;
  return fields.params ? "strength by parameters" : "strength left to the server";
};
const boundWords = (fields) =>
  fields.max_kl === null ? "no bound" : fields.max_kl === "default" ? "recommended bound" : `bound ${short(fields.max_kl)} nats`;
const gateWords = (fields) =>
  fields.gate === "default" ? "gate left to the server" : fields.gate ? `gate by ${fields.gate.kind}, from ${short(fields.gate.threshold)} on` : "no gate";

const described = (profile) => {
  const fields = fieldsOf(profile);
  const more = [strengthOf(fields), boundWords(fields)];
  if (fields.gate !== "default") more.push(gateWords(fields));
  if (fields.method) more.push(`method ${fields.method.replace("_", " ")}`);
  if (fields.parent) more.push(`builds on ${flat(fields.parent)}`);
  const list = fields.preferences.length ? listed(fields.preferences) : make("p", "muted", "No preferences.");
  return [list, make("p", "muted", `${more.join(", ")}.`.replace(/^./, (first) => first.toUpperCase()))];
};

// What a version of a profile changed against the one before it.
const changesOf = (before, after) => {
  const [old, now] = [fieldsOf(before), fieldsOf(after)];
  const left = [...old.preferences];
  const changes = [];
  for (const it of now.preferences) {
    const alike = left.filter((other) => other.text === it.text);
    const earlier = alike.find((other) => JSON.stringify(other) === JSON.stringify(it)) ?? alike[0];
    if (earlier) left.splice(left.indexOf(earlier), 1);
    if (!earlier) changes.push(`Added ${quote(it.text)}${it.weight === 1 ? "" : `, weight ${short(it.weight)}`}.`);
    else if (earlier.weight !== it.weight) changes.push(`Weight of ${quote(it.text)}: ${short(earlier.weight)} → ${short(it.weight)}.`);
    else if (JSON.stringify(earlier) !== JSON.stringify(it)) changes.push(`Changed when or how ${quote(it.text)} applies.`);
  }
  for (const it of left) changes.push(`Removed ${quote(it.text)}.`);
  for (const words of [strengthOf, boundWords, gateWords, (it) => `method ${it.method ?? "left to the server"}`, (it) => `builds on ${it.parent ? flat(it.parent) : "nobody"}`]) {
    if (words(old) !== words(now)) changes.push(`${before ? `${words(old)} → ` : ""}${words(now)}.`.replace(/^./, (first) => first.toUpperCase()));
  }
  return changes;
};
