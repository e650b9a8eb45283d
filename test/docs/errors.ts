/**
 * Writes docs/errors.md from the table in agent/model/errors.ts: `npm run docs`. The page is for whoever has a code on
 * the screen and wants to know what to do, in either language.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ErrorClass, errorTable } from '../../agent/model/errors.ts';
import { root } from '../source-files.ts';

type ErrorEntry = Readonly<Record<'sentence' | 'hint' | 'ja', string>> & { readonly class: ErrorClass };

export const errorsPage = 'docs/errors.md';

const classWords: Readonly<Record<ErrorClass, string>> = {
  transient: 'transient: it tries again by itself',
  ambiguous: 'ambiguous: it may have arrived; it is sent again under the same id',
  permanent: 'permanent: it stops this one thing and waits for a person',
};

export function renderErrors(): string {
  const entries = Object.entries<ErrorEntry>(errorTable).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return [
    '# Errors / エラー一覧',
    '',
    'Made from `agent/model/errors.ts` by `npm run docs`; do not edit. A code never changes its meaning and is never',
    'used again. Words in braces are filled in with numbers, names from your configuration, or codes: never with anything',
    'about a patient.',
    '',
    'The class says what the connector does next, and nothing else does:',
    '',
    ...Object.values(classWords).map((words) => `- ${words}`),
    '',
    ...entries.flatMap(section),
  ].join('\n');
}

function section([code, entry]: [string, ErrorEntry]): string[] {
  return [
    `## ${code}`,
    '',
    `**${asText(entry.sentence)}** (${entry.class})`,
    '',
    `- What to do: ${asText(entry.hint)}`,
    `- 対応: ${asText(entry.ja)}`,
    '',
  ];
}

/** One line; angle brackets would be taken for HTML outside backticks. */
function asText(sentence: string): string {
  return sentence.replaceAll('\n', ' ').replaceAll('<', '&lt;');
}

if (import.meta.main) writeFileSync(join(root, errorsPage), renderErrors());
