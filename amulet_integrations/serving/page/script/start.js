// The start: who asks, which model answers, and which users there are.

const start = async () => {
  try {
    caller = await (await call("v1/me")).json();
    const models = await (await call("v1/models")).json();
    model = models.data[0].id;
    $("model").replaceChildren(...visible(model));
    $("key-button").hidden = !key;
    $("key-button").textContent = key ? "Forget the key" : "Give a key";
    $("pick-user").hidden = !caller.may_name_users;
    $("own-user").replaceChildren(...(caller.may_name_users ? [] : visible(caller.user_id)));
    if (caller.may_name_users) await listUsers();
    else form.elements.source.value = "user";
    await showSummary();
    say("");
  } catch (error) {
    const isLoading = error.code === "model_loading";
    say(isLoading ? "The model is being loaded; the page waits for it." : error.message);
    if (!isLoading) return;
    await loaded();
    await start();
  }
};
// Ends when the server says that its model is loaded.
const loaded = async () => {
  for (;;) {
    await new Promise((resolve) => { setTimeout(resolve, 1000); });
    const response = await send("readyz").catch(() => null);
    if (response?.ok) return;
  }
};
const listUsers = async () => {
  const users = (await (await call("v1/profiles?limit=1000")).json()).data;
  $("users").replaceChildren(...users.map((it) => {
    const option = make("option", "");
    option.value = it.user_id;
    if (flat(it.user_id) !== it.user_id) option.label = flat(it.user_id);
    return option;
  }));
};

if (innerWidth < 768) $("side").open = false;
own.add({ text: "Answer like a friendly pirate.", weight: 1 });
setScale(Number(settings.defaultScale));
started = start();
