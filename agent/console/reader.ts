import type { Bilingual } from '../health/index.ts';
import { Format, type Language } from './language.ts';

/** Who reads the page, as far as it matters: in which language. */
export interface Reader {
  readonly language: Language;
  readonly format: Format;
  /** In the reader's language. */
  readonly say: (words: Bilingual) => string;
}

/** Made anew for each page: an agent that nobody looks at keeps no tables of languages in memory. */
export function readerOf(language: Language): Reader {
  return { language, format: new Format(language), say: (words) => words[language] };
}
