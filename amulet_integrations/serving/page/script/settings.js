// The settings at the side.

const form = $("settings");
const own = new Rows($("own-rows"), () => showSettings());
const source = () => form.elements.source.value;
const chosenUser = () => caller.user_id ?? ($("user-id").value.trim() || null);
const usesOwnStrength = () => source() === "user" && $("leave-strength").checked;

const showSettings = () => {
  const isUser = source() === "user";
  $("own").hidden = isUser;
  $("user").hidden = !isUser;
  $("strength-left").hidden = !isUser;
  for (const id of ["strength", "strength-number"]) $(id).disabled = usesOwnStrength();
  const scale = Number($("strength-number").value);
  const words = usesOwnStrength() ? "The profile's own strength, or the server's." : scaleWords(scale);
  $("strength-words").textContent = words;
  $("strength").setAttribute("aria-valuetext", `${short(scale)}. ${words}`);
  $("bound-number").hidden = $("bound").value !== "own";
  const whose = isUser ? flat(chosenUser() ?? "nobody yet") : "Written here";
  $("side-summary").textContent = usesOwnStrength() ? whose : `${whose}, strength ${short(scale)}`;
};
const setScale = (value) => {
  $("strength").value = value;
  $("strength-number").value = Number(Number(value).toFixed(2));
  showSettings();
};
$("strength").addEventListener("input", () => setScale($("strength").value));
$("strength-number").addEventListener("input", () => { $("strength").value = $("strength-number").value; showSettings(); });
form.addEventListener("change", showSettings);
form.addEventListener("submit", (event) => event.preventDefault());
$("add-own").addEventListener("click", () => own.add().querySelector(".text").focus());

const boundOf = (choice, number) =>
  choice.value === "own" ? Number(number.value) : choice.value === "none" ? null : "default";
// What the personalised answer is asked with; null where something is missing, which is said.
const personalSettings = () => {
  const amulet = { explain: true, max_kl: boundOf($("bound"), $("bound-number")) };
  if (!usesOwnStrength()) amulet.guidance_scale = Number($("strength-number").value);
  if (source() === "user") {
    if (!chosenUser()) {
      $("side").open = true;
      $("user-id").focus();
      say("Pick a user first, or write preferences.");
      return null;
    }
    return { user: chosenUser(), amulet };
  }
  if (!own.list.children.length) own.add();
  const preferences = own.read();
  if (!preferences) {
    say("A preference is empty.");
    return null;
  }
  amulet.preference = preferences.map(({ text, weight }) => ({ text, weight }));
  return { amulet };
};
