import { expect, it } from 'vitest';
import { read, withoutComments } from '../source-files.ts';

const page = 'docs/architecture.md';

interface Named {
  readonly path: string;
  readonly name: string;
}

/** `file.ts` and the functions named right after it: `#private()` ones too. */
function namedFunctions(markdown: string): Named[] {
  const groups = markdown.matchAll(/`((?:agent|producer)\/[\w./-]+\.ts)`((?: `#?\w+\(\)`)+)/g);
  return [...groups].flatMap(([, path = '', functions = '']) =>
    [...functions.matchAll(/`(#?\w+)\(\)`/g)].map(([, name = '']) => ({ path, name })),
  );
}

/** Whether the file has a function, or a method of a class, of that name: a call of one is indented further. */
function defines({ path, name }: Named): boolean {
  const functionWords = '(?:export )?(?:async )?function\\*? ?';
  const methodWords = ' {2}(?:static |async |get |\\*)*';
  const definition = `^(?:${functionWords}|${methodWords})${name}[<(](?!.*;$)`;
  return new RegExp(definition, 'm').test(withoutComments(read(path)));
}

it('names only functions that exist, in the file it names them in', () => {
  const named = namedFunctions(read(page));
  expect(named.length).toBeGreaterThan(40);
  expect(named.filter((each) => !defines(each)).map(({ path, name }) => `${path} ${name}()`)).toEqual([]);
});

it('leaves no function without its file', () => {
  const inTables = read(page).match(/^\|.*`#?\w+\(\)`.*$/gm) ?? [];
  const named = namedFunctions(inTables.join('\n')).length;
  expect(inTables.join('\n').match(/`#?\w+\(\)`/g)).toHaveLength(named);
});

it('would notice a function that is only called', () => {
  expect(defines({ path: 'agent/flow/accept.ts', name: 'judge' })).toBe(false);
  expect(defines({ path: 'agent/flow/judge.ts', name: 'judge' })).toBe(true);
});
