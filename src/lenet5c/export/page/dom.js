// Elements of the page, and formatted text.

export const find = (selector) => document.querySelector(selector);

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Sets a text only if it has changed, to avoid a new layout of the page.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const samplesText = (count) => (count === 1 ? "1 sample" : `${count} samples`);

// Shows an error next to the pressed control, or none, and clears all others.
export function showError(selector, error = null) {
  for (const element of document.querySelectorAll(".error")) Object.assign(element, { hidden: true, textContent: "" });
  if (error) Object.assign(find(selector), { hidden: false, textContent: error.message });
}

// Offers content as a file to be saved.
export function saveFile(name, content, type) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// Settings are stored, if the browser allows it.
export function remember(name, value) {
  try {
    localStorage.setItem(`lenet5c-${name}`, value);
  } catch {
    // They are not stored then.
  }
}

export function recall(name) {
  try {
    return localStorage.getItem(`lenet5c-${name}`);
  } catch {
    return null;
  }
}
