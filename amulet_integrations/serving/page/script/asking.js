// Asking.

const say = (words) => { $("status").textContent = words; };
const conversation = { plain: [], personal: [] };
let running = null;

const BROKEN_OFF = "The answer broke off: the connection was lost.";

class Lane {
  constructor(element, history) {
    this.element = element;
    this.history = history;
    this.answer = element.querySelector(".answer");
    this.tokens = [];
    this.waiting = [];
    this.unshown = "";
    this.text = "";
    this.applied = null;
    this.count = 0;
  }

  async run(body, signal) {
    const began = performance.now();
    this.isExplained = body.amulet.explain === true;
    const [state, trouble] = [this.element.querySelector(".state"), this.element.querySelector(".trouble")];
    this.element.dataset.writing = "";
    this.answer.setAttribute("aria-busy", "true");
    state.textContent = "Waiting";
    let problem = null;
    try {
      const response = await call("v1/chat/completions", { method: "POST", body, signal });
      for await (const chunk of events(response)) {
        if (chunk.error) throw new ServerError(0, chunk.error.message);
        this.take(chunk);
        state.textContent = this.text ? "Writing" : this.thinks ? "Thinking" : "Waiting";
      }
      state.textContent = "";
    } catch (error) {
      if (error.name === "AbortError") state.textContent = "Stopped";
      else {
        problem = error instanceof ServerError ? error : new ServerError(0, BROKEN_OFF);
        state.textContent = "";
        trouble.append(make("p", "", ...visible(problem.message)));
      }
    }
    delete this.element.dataset.writing;
    this.answer.removeAttribute("aria-busy");
    if (this.text) this.history.push({ role: "assistant", content: this.text });
    else this.history.pop();
    this.finish((performance.now() - began) / 1000, body);
    return problem;
  }

  take(chunk) {
    const choice = chunk.choices?.[0];
    const content = choice?.delta?.content ?? "";
    if (chunk.amulet) {
      this.waiting.push(...(chunk.amulet.tokens ?? []));
      this.applied = { ...this.applied, ...chunk.amulet };
    }
    if (chunk.usage) this.count = chunk.usage.completion_tokens;
    if (choice?.finish_reason) this.ended = choice.finish_reason;
    if (choice?.delta?.reasoning_content) this.thinks = true;
    this.text += content;
    this.unshown += content;
    if (this.unshown) this.show();
  }

  // A text belongs to the last of the tokens that have come; what was thought before it has none.
  show() {
    const text = this.unshown;
    if (!this.waiting.length) {
      if (this.isExplained) return; // its tokens are on their way
      this.answer.append(make("span", "", ...visible(text)));
    } else {
      let own = "";
      let from = this.waiting.length;
      while (from > 0 && own !== text && text.endsWith(own)) own = this.waiting[(from -= 1)].text + own;
      while (from > 0 && isPart(this.waiting[from - 1])) from -= 1;
      if (own === text) joined(this.waiting.slice(from)).filter((it) => it.text).forEach((it) => this.tint(it.text, it));
      else this.tint(text, this.waiting.at(-1));
    }
    this.unshown = "";
    this.waiting = [];
  }

  tint(text, fact) {
    const isImpossible = Math.min(fact.logprob, fact.base_logprob) <= -9999;
    const shift = fact.logprob - fact.base_logprob;
    const shown = { ...fact, text, shift: isImpossible ? Math.sign(shift) * Infinity || 0 : shift };
    const span = make("span", `t ${tint(shown.shift)}`, ...visible(text, false));
    span.facts = shown;
    span.tabIndex = this.tokens.length ? -1 : 0;
    span.setAttribute("aria-describedby", "facts");
    this.tokens.push(span);
    this.answer.append(span);
  }

  finish(seconds, body) {
    const parts = [];
    this.isExplained = false;
    if (this.unshown) this.show();
    if (this.tokens.length) {
      const moved = this.tokens.filter((it) => Math.abs(it.facts.shift) >= 1).length;
      parts.push(`${moved} of ${counted(this.tokens.length, "token")} moved by 1 nat or more`);
      this.element.querySelector(".legend").hidden = false;
      this.answer.setAttribute("role", "group");
      this.answer.setAttribute("aria-label", "Personalised answer; arrow keys step through its tokens");
    }
    if (this.applied) parts.unshift(...appliedWords(this.applied, body));
    if (this.text && seconds) parts.push(`${this.count ? `${counted(this.count, "token")} in ` : ""}${seconds.toFixed(1)} s`);
    if (this.ended === "length") parts.push("ended at its longest length");
    this.element.querySelector(".applied").textContent = parts.join(" · ");
  }
}
const isPart = (token) => token.text === "" && token.token.includes("\ufffd"); // of a character
// Tokens that complete a character only together, as one: their probabilities multiply.
const joined = (tokens) => tokens.reduce((all, it) => {
  const last = all.at(-1);
  if (!last || !isPart(last)) return [...all, it];
  const sum = (name) => (it[name] === null || last[name] === null ? null : it[name] + last[name]);
  const names = ["logprob", "base_logprob", "pref_logprob", "kl_from_base"];
  return [...all.slice(0, -1), { ...it, ...Object.fromEntries(names.map((name) => [name, sum(name)])) }];
}, []);
const appliedWords = (applied, body) => {
  const parts = [];
  if (applied.method) parts.push(applied.method === "base" ? "No preference" : `Method ${applied.method.replace("_", " ")}`);
  if (typeof applied.guidance_scale === "number" && applied.method !== "base") parts.push(`strength ${short(applied.guidance_scale)}`);
  if (typeof applied.max_kl === "number") parts.push(`bound ${short(applied.max_kl)} nats`);
  if (applied.bounded_tokens) parts.push(`${counted(applied.bounded_tokens, "token")} held back by the bound`);
  if (applied.left_out && applied.left_out.length) parts.push(`${counted(applied.left_out.length, "preference")} left out by the gate`);
  if (body.amulet.explain && applied.method === "base") parts[0] = "No preference is active";
  if (applied.preset) parts[1] += ` (${applied.preset})`;
  return parts;
};

// The data of server-sent events, as they come.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new ServerError(0, BROKEN_OFF);
      text += value.replaceAll("\r", "");
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        const lines = text.slice(0, end).split("\n").filter((it) => it.startsWith("data:"));
        text = text.slice(end + 2);
        const data = lines.map((it) => it.slice(5).trimStart()).join("\n");
        if (data === "[DONE]") return;
        if (data) yield JSON.parse(data);
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // so that the server stops where this side has
  }
}

const askedWith = ({ user, amulet }) => {
  if (user) return `Profile of ${user}`;
  const texts = amulet.preference.filter((it) => it.weight).map(({ text, weight }) => (weight < 0 ? `not: ${text}` : text));
  return texts.join(" · ") || "All preferences are switched off";
};
const ask = async (question) => {
  const personal = personalSettings();
  if (!personal || running) return;
  running = new AbortController();
  showRunning(true);
  $("welcome").hidden = true;
  $("question").value = "";
  await started;
  say("Writing two answers.");
  const turn = $("turn").content.firstElementChild.cloneNode(true);
  turn.querySelector(".question").append(...visible(question));
  turn.querySelector("[data-lane=personal] .asked").append(...visible(askedWith(personal)));
  $("turns").append(turn);
  turn.scrollIntoView({ block: "start" });
  const seed = Math.floor(Math.random() * 2 ** 31); // the same luck for both answers
  const both = { model, stream: true, stream_options: { include_usage: true }, max_tokens: Number($("length").value) || undefined, seed };
  const lanes = Object.entries({ plain: { amulet: { method: "base" } }, personal }).map(async ([name, more]) => {
    const history = conversation[name];
    history.push({ role: "user", content: question });
    const lane = new Lane(turn.querySelector(`[data-lane=${name}]`), history);
    return lane.run({ ...both, messages: [...history], ...more }, running.signal);
  });
  const problems = (await Promise.all(lanes)).filter(Boolean);
  const wasStopped = running.signal.aborted;
  running = null;
  showRunning(false);
  say(wasStopped ? "Stopped." : problems.length ? "Something went wrong; see the answers." : "Both answers are finished.");
  problems.forEach((it) => own.mark(it));
  if (problems.length && !$("question").value) $("question").value = question;
};
const showRunning = (isRunning) => {
  const hadFocus = document.activeElement === $("stop");
  $("stop").hidden = !isRunning;
  $("ask").setAttribute("aria-disabled", String(isRunning));
  $("new").hidden = isRunning || !$("turns").children.length;
  if (hadFocus) $("question").focus();
};
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("question").value.trim();
  if (question) ask(question);
  else $("question").focus();
});
$("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("composer").requestSubmit();
});
$("question").addEventListener("input", () => grow($("question")));
$("stop").addEventListener("click", () => running?.abort());
$("new").addEventListener("click", () => {
  conversation.plain.length = conversation.personal.length = 0;
  $("turns").replaceChildren();
  $("welcome").hidden = false;
  $("new").hidden = true;
  say("");
  $("question").focus();
});
$("samples").addEventListener("click", (event) => {
  if (!event.target.matches(".sample")) return;
  $("question").value = event.target.textContent;
  $("composer").requestSubmit();
});
