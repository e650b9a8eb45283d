import { describe, expect, it } from 'vitest';
import { errorTable } from '../../agent/model/errors.ts';
import { eventTable } from '../../agent/model/events.ts';
import { codeFiles, read, withoutComments } from '../source-files.ts';
import { errorsPage, renderErrors } from './errors.ts';

const codes = Object.keys(errorTable);
const tables = ['agent/model/errors.ts', 'agent/model/events.ts'];

/** The words between quotes in all these files: where a code or an event is named, it is a text. */
function quotedWords(paths: readonly string[]): Set<string> {
  const texts = paths.map((path) => withoutComments(read(path)).matchAll(/['"`]([\w.-]+)['"`]/g));
  return new Set(texts.flatMap((matches) => [...matches].map(([, word = '']) => word)));
}

const inProduct = quotedWords(codeFiles('agent', 'producer').filter((path) => !tables.includes(path)));
const inTests = quotedWords(codeFiles('test').filter((path) => !path.startsWith('test/docs/')));

describe('docs/errors.md', () => {
  it('says what the table says: `npm run docs` writes it again', () => {
    expect(read(errorsPage)).toBe(renderErrors());
  });

  it('has every code in order, with what to do in both languages', () => {
    const headings = [...read(errorsPage).matchAll(/^## (\w+)$/gm)].map(([, code]) => code);
    expect(headings).toEqual(codes.toSorted());
    for (const [code, { hint, ja }] of Object.entries(errorTable)) {
      expect(hint, code).toMatch(/[.!?`:]$/);
      expect(ja, code).toMatch(/[ぁ-んァ-ヶ一-龠]/);
    }
  });
});

describe('the tables', () => {
  it('have no error that the product never raises', () => {
    expect(codes.filter((code) => !inProduct.has(code))).toEqual([]);
  });

  it('have no error that no test provokes', () => {
    expect(codes.filter((code) => !inTests.has(code))).toEqual([]);
  });

  it('have no event that the product never reports', () => {
    expect(Object.keys(eventTable).filter((name) => !inProduct.has(name))).toEqual([]);
  });
});
