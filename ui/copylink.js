// Copies an address for somebody else. It stands at the head of every component that offers to.

// The address of what is seen: the bar may lag a moment behind, and leave out a run that the session remembers.
function address(parameters) {
  const url = new URL(window.location.href);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  return url.href;
}

async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) { await navigator.clipboard.writeText(text); return; }
  const field = document.createElement("textarea");  // an address without TLS has no clipboard of its own
  field.value = text;
  field.style.position = "fixed";
  field.style.opacity = "0";
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (!copied) throw new Error("not copied");
}

// Copies the address with these parameters; the button says how that went.
async function copied(button, parameters) {
  const label = button.dataset.label ??= button.textContent;
  let word = "Link copied";
  try { await copy(address(parameters)); }
  catch { word = "Copy it from the address bar"; }
  button.textContent = word;
  clearTimeout(button.timer);
  button.timer = setTimeout(() => { button.textContent = label; }, 2500);
}
