import type { Bilingual } from '../health/index.ts';
import { frame } from './frame.ts';
import { html } from './html.ts';
import type { Reader } from './reader.ts';
import { words } from './words.ts';

/** One sentence, and the way back. */
export function messagePage(message: Bilingual, reader: Reader): string {
  const { language, say } = reader;
  const main = html`<h1>${say(message)}</h1><p><a href="/?lang=${language}">${say(words.backToState)}</a></p>`;
  return frame(reader, { title: say(message), icon: 'attention', main });
}
