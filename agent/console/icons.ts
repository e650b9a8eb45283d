/** A shape for each state, so that nobody has to see its colour. Drawn in a square of 24. */
import type { StateWord } from '../health/index.ts';
import { html, Markup } from './html.ts';

const shapes: Readonly<Record<StateWord, string>> = {
  ok: '<circle cx="12" cy="12" r="10"/><path d="m7 12.5 3.5 3.5L17 9"/>',
  attention: '<path d="M12 2.8 22.4 21H1.6Z"/><path d="M12 9.5v5M12 17.6v.4"/>',
  paused: '<circle cx="12" cy="12" r="10"/><path d="M9.5 8v8M14.5 8v8"/>',
  'stopped-by-fault': '<path d="M8 2h8l6 6v8l-6 6H8l-6-6V8Z"/><path d="m8.5 8.5 7 7M15.5 8.5l-7 7"/>',
  safe: '<path d="M12 2 21 5.5V12c0 5-4 8.5-9 10-5-1.5-9-5-9-10V5.5Z"/><path d="M12 8v5M12 16.1v.4"/>',
};

/** As in `console.css`. */
const colours: Readonly<Record<StateWord, string>> = {
  ok: '#0b6b3d',
  attention: '#8a4b00',
  paused: '#2b4c7e',
  'stopped-by-fault': '#a31621',
  safe: '#5b2a86',
};

const drawn = 'viewBox="0 0 24 24" fill="none" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"';

/** Beside its word, so it says nothing to those who listen. */
export function stateIcon(state: StateWord): Markup {
  const shape = new Markup(`${drawn} stroke="currentColor">${shapes[state]}`);
  return html`<svg class="icon" aria-hidden="true" ${shape}</svg>`;
}

/** For the tab of the browser: `/icon-ok.svg`. */
export function iconPath(state: StateWord): string {
  return `/icon-${state}.svg`;
}

/** Undefined for a path that is none of them. */
export function iconFile(path: string): string | undefined {
  for (const state of Object.keys(shapes) as StateWord[]) {
    if (path !== iconPath(state)) continue;
    return `<svg xmlns="http://www.w3.org/2000/svg" ${drawn} stroke="${colours[state]}">${shapes[state]}</svg>`;
  }
  return undefined;
}
