// The profile of a user: to look at, to change, and to take back.

const profileForm = new ProfileForm();
const drafts = new Map(); // what was typed and not saved, by user
let opened = null; // { user, stored, etag, typed, newer }

const pathOf = (user, more = "") => {
  if (user === "." || user === "..") throw new ServerError(0, `A browser cannot ask for a user named ${quote(user)}.`);
  try {
    return `v1/profiles/${encodeURIComponent(user)}${more}`;
  } catch {
    throw new ServerError(0, "This name of a user cannot be sent.");
  }
};
// The stored profile with its tag; null for none.
const fetchProfile = async (user) => {
  try {
    const response = await call(pathOf(user));
    return { stored: await response.json(), etag: response.headers.get("ETag") };
  } catch (error) {
    if (error.status === 404) return { stored: null, etag: null };
    throw error;
  }
};
const complain = (place, error) => place.replaceChildren(make("p", "", ...visible(error.message)));

// ---- The summary at the side ----

let summaries = 0;
const showSummary = async () => {
  const [user, number] = [chosenUser(), (summaries += 1)];
  $("open-profile").hidden = !user;
  showSettings();
  if (!user) return $("profile-summary").replaceChildren();
  try {
    const { stored } = await fetchProfile(user);
    if (number !== summaries) return; // another user has been chosen meanwhile
    const none = make("p", "muted", "No profile yet: the answers will be plain.");
    $("profile-summary").replaceChildren(...(stored ? described(stored) : [none]));
    $("open-profile").textContent = stored ? "See and change the profile" : "Make a profile";
  } catch (error) {
    if (number === summaries) complain($("profile-summary"), error);
  }
};
let typing = 0;
$("user-id").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    showSummary();
    if (!$("profile-view").hidden && chosenUser()) openProfile();
  }, 300);
});
form.addEventListener("change", (event) => { if (event.target.name === "source") showSummary(); });

// ---- Opening, and going back ----

const isChanged = () => opened && JSON.stringify(profileForm.draft()) !== opened.filled;
const keepDraft = () => {
  if (isChanged()) drafts.set(opened.user, { fields: profileForm.draft(), stored: opened.stored, etag: opened.etag });
  else if (opened) drafts.delete(opened.user);
};
const fillWith = (fields) => {
  profileForm.fill(fields);
  opened.filled = JSON.stringify(profileForm.draft());
};
const showStored = () => {
  const { user, stored } = opened;
  $("profile-title").replaceChildren("Profile of ", make("bdi", "", ...visible(user)));
  $("profile-version").textContent = stored ? `Version ${stored.version}, saved ${moment(stored.updated_at)}` : "Nothing is stored yet.";
  $("conflict").hidden = true;
  $("profile-error").replaceChildren();
  $("mine-back").hidden = !opened.typed;
  $("delete").hidden = !stored;
};
const openProfile = async () => {
  const user = chosenUser();
  keepDraft();
  $("ask-view").hidden = true;
  $("profile-view").hidden = false;
  $("profile-trouble").replaceChildren();
  $("profile-status").textContent = "";
  try {
    const read = await fetchProfile(user);
    if (user !== chosenUser()) return;
    opened = { user, ...read, typed: null };
    fillWith(fieldsOf(opened.stored));
    showStored();
    $("profile-body").hidden = false;
    const draft = drafts.get(user);
    if (draft) { // it was typed against what was stored then
      profileForm.fill(draft.fields);
      Object.assign(opened, { etag: draft.etag });
      $("profile-status").textContent = "Your changes are not saved yet.";
    }
    await showMore();
  } catch (error) {
    opened = null;
    $("profile-title").textContent = "Profile";
    $("profile-version").textContent = "";
    $("profile-body").hidden = true;
    complain($("profile-trouble"), error);
  }
};
$("open-profile").addEventListener("click", async () => {
  await openProfile();
  $("profile-title").focus();
});
$("back").addEventListener("click", () => {
  keepDraft();
  $("profile-view").hidden = true;
  $("ask-view").hidden = false;
  showSummary();
  $("open-profile").focus();
});
window.addEventListener("beforeunload", (event) => { if (isChanged()) event.preventDefault(); });

// ---- What applies now, and the history ----

const showMore = async () => {
  const user = opened.user;
  const [history, applies] = await Promise.all([
    call(pathOf(user, "/history")).then((it) => it.json(), () => ({ data: [] })),
    opened.stored ? call(pathOf(user, "/explain")).then((it) => it.json(), () => null) : null,
  ]);
  if (opened?.user !== user) return;
  $("applies").replaceChildren(...appliesNow(applies));
  const entries = [...history.data].sort((one, other) => other.version - one.version);
  $("history").replaceChildren(...entries.map((it, at) => historyRow(it, entries[at + 1])));
  if (!entries.length) $("history").append(make("li", "muted", "No change is recorded."));
  if (history.has_more) $("history").append(make("li", "muted", "Older changes are not shown."));
};
const appliesNow = (explained) => {
  if (!explained) return [make("p", "muted", "Nothing: the answers are plain.")];
  const list = make("ul", "listed");
  list.role = "list";
  for (const it of explained.preferences) {
    const words = it.holds ? `applies, weight ${short(it.weight)}` : `does not apply: ${flat(it.reason ?? "")}`;
    const from = it.profile === explained.user_id ? "" : `, from ${flat(it.profile)}`;
    list.append(make("li", "", make("bdi", "", ...visible(it.text ?? it.name ?? "A preference that it inherits")), " ", make("small", "", words + from)));
  }
  const method = explained.method ? `Method ${explained.method.replace("_", " ")}, strength` : "Strength";
  const bound = explained.max_kl === null ? "no bound" : `bound ${short(explained.max_kl)} nats a token`;
  const words = `${method} ${short(explained.guidance_scale)}, ${bound}.`;
  const parts = [make("p", "muted", words)];
  if (explained.missing_parent) parts.push(make("p", "error", `The profile of ${quote(explained.missing_parent)}, on which it builds, is missing.`));
  return explained.preferences.length ? [list, ...parts] : [make("p", "muted", "No preference.")];
};
const ACTIONS = { save: "Saved", delete: "Deleted", restore: "Restored", import: "Imported" };
const historyRow = (entry, before) => {
  const row = make("li", "");
  const by = entry.by ? ` by ${flat(entry.by)}` : "";
  const at = entry.at ? `, ${moment(entry.at)}` : "";
  const title = make("p", "", make("b", "", `Version ${entry.version}`), make("span", "muted", ` · ${ACTIONS[entry.action] ?? "Changed"}${by}${at}`));
  const changes = entry.problem ? [`It cannot be read: ${flat(entry.problem)}`] : changesOf(before?.profile, entry.profile);
  row.append(title, make("p", "changes", changes.join("\n") || "Nothing was changed."));
  if (entry.profile && entry.version !== opened.stored?.version) {
    const restore = button("Restore", () => restoreVersion(entry.version));
    restore.setAttribute("aria-label", `Restore version ${entry.version}`);
    row.append(restore);
  }
  return row;
};

// ---- Changing it ----

const precondition = () => (opened.etag ? { "If-Match": opened.etag } : { "If-None-Match": "*" });
const change = async (words, path, options) => {
  $("profile-error").replaceChildren();
  $("profile-status").textContent = "";
  try {
    await call(path, { ...options, headers: precondition() });
    const { user, typed } = opened;
    drafts.delete(user);
    opened = { user, ...(await fetchProfile(user)), typed };
    fillWith(fieldsOf(opened.stored));
    showStored();
    await showMore();
    $("profile-status").textContent = words;
    showSummary();
  } catch (error) {
    if (error.status === 412) await showConflict();
    else complain($("profile-error"), error);
  }
};
const showConflict = async () => {
  try {
    opened.newer = await fetchProfile(opened.user);
  } catch (error) {
    return complain($("profile-error"), error);
  }
  const { stored } = opened.newer;
  const gone = make("p", "muted", "It was deleted.");
  $("newer").replaceChildren(...(stored ? [make("p", "muted", `Version ${stored.version}, saved ${moment(stored.updated_at)}`), ...described(stored)] : [gone]));
  $("conflict").hidden = false;
  $("conflict-title").focus();
};
const save = async () => {
  const fields = profileForm.read();
  if (!fields) return;
  opened.typed = null;
  await change("Saved.", pathOf(opened.user), { method: "PUT", body: fields });
};
$("profile").addEventListener("submit", (event) => {
  event.preventDefault();
  if (opened) save();
});
$("undo").addEventListener("click", () => {
  opened.typed = isChanged() ? profileForm.draft() : opened.typed;
  fillWith(fieldsOf(opened.stored));
  drafts.delete(opened.user);
  showStored();
  $("profile-status").textContent = "Your changes are undone.";
});
$("mine-back").addEventListener("click", () => {
  profileForm.fill(opened.typed);
  opened.typed = null;
  $("mine-back").hidden = true;
  $("profile-status").textContent = "Your changes are back, and not saved yet.";
  $("save").focus();
});
$("keep-mine").addEventListener("click", () => {
  Object.assign(opened, opened.newer);
  $("conflict").hidden = true;
  $("save").focus();
  save();
});
$("take-newer").addEventListener("click", () => {
  opened.typed = profileForm.draft();
  Object.assign(opened, opened.newer);
  fillWith(fieldsOf(opened.stored));
  drafts.delete(opened.user);
  showStored();
  showMore();
  $("profile-title").focus();
});
const restoreVersion = async (version) => {
  if (isChanged()) opened.typed = profileForm.draft();
  await change(`Version ${version} is back.`, pathOf(opened.user, "/restore"), { method: "POST", body: { version } });
  $("profile-title").focus();
};

$("delete").addEventListener("click", () => {
  $("erase").checked = false;
  $("delete-dialog").showModal();
});
$("delete-cancel").addEventListener("click", () => $("delete-dialog").close());
$("delete-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("delete-dialog").close();
  if (isChanged()) opened.typed = profileForm.draft();
  const erase = $("erase").checked;
  const words = erase ? "The profile and its history are gone." : "The profile is deleted.";
  await change(words, pathOf(opened.user, `?erase=${erase}`), { method: "DELETE" });
  if ($("conflict").hidden) $("profile-title").focus();
});
