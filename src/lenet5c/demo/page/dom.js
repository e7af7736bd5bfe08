// Elements of the page, and text for people.

export const find = (selector) => document.querySelector(selector);

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export const samplesText = (count) => (count === 1 ? "1 sample" : `${count} samples`);
