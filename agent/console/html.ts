/** HTML by template: whatever is filled in is escaped, unless it is markup made here itself. */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Filling = Markup | string | number | undefined | readonly Markup[];

/** `undefined` is nothing at all, a list is one after another. */
export function html(strings: TemplateStringsArray, ...fillings: readonly Filling[]): Markup {
  return new Markup(strings.map((text, index) => text + written(fillings[index])).join(''));
}

function written(filling: Filling): string {
  if (filling === undefined) return '';
  if (filling instanceof Markup) return filling.text;
  if (typeof filling === 'object') return filling.map(({ text }) => text).join('');
  return escape(String(filling));
}

const escapes: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escape(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => escapes[character] ?? '');
}
