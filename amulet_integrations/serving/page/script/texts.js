// Texts: what nobody sees gets a sign, as in explanations.

const NAMED = { "\n": "↵", "\t": "⇥", "\r": "␍", "\u00a0": "⍽" };
const UNSEEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]|(?! )\p{Zs}| {2,}/u;
const UNSEEN_IN_BLANKS = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]|(?! )\p{Zs}| +/u;
const UNSEEN_IN_PROSE = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/u;
const JOINERS = "\u200c\u200d"; // Persian and emoji need them between letters
const STEERING = /[\u202a-\u202e\u2066-\u2069\u0080-\u009f\ud800-\udfff]/u;

const harmless = (sign) => {
  if (sign === "\n" || sign === "\t") return sign;
  if (sign < " ") return sign === "\r" ? "" : String.fromCodePoint(0x2400 + sign.codePointAt(0));
  return sign === "\x7f" ? "␡" : STEERING.test(sign) ? "\ufffd" : sign;
};
const signOf = (sign) => {
  if (sign in NAMED) return NAMED[sign];
  if (sign.startsWith(" ")) return "·".repeat(sign.length);
  if (/\p{Zs}/u.test(sign)) return "␣";
  if (sign < " " || sign === "\x7f") return harmless(sign);
  return `⟨U+${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
};
// Splits a text into [seen, unseen, seen, …]; prose keeps its line breaks and its spaces.
const split = (text, inProse) => {
  const unseen = inProse ? UNSEEN_IN_PROSE : text.trim() ? UNSEEN : UNSEEN_IN_BLANKS;
  const parts = text.split(new RegExp(`(${unseen.source})`, "u"));
  const merged = [parts[0]];
  for (let at = 1; at < parts.length; at += 2) {
    const isSeen = (inProse && "\n\t".includes(parts[at])) || (JOINERS.includes(parts[at]) && !JOINERS.includes(text));
    if (isSeen) merged[merged.length - 1] += parts[at] + parts[at + 1];
    else merged.push(parts[at], parts[at + 1]);
  }
  return merged;
};
const signFor = (text, sign) => {
  const shown = make("i", "s", text);
  shown.dataset.s = sign;
  return shown;
};
const visible = (text, inProse = true) => split(String(text), inProse).flatMap((part, at) => {
  if (at % 2 === 0) return part ? [document.createTextNode(part)] : [];
  return [signFor([...part].map(harmless).join(""), signOf(part))];
});
const flat = (text, inProse = false) =>
  split(String(text), inProse).map((part, at) => (at % 2 ? signOf(part) : part)).join("");
const label = (text) => flat(text).replace(/^ | $/g, "·").replace(/^(?=\p{M})/u, "◌") || "⋯";
const quote = (text) => `“${flat(text)}”`;
