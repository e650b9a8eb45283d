import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { listFolder, signatureOf, toPath } from '../../../agent/source/ssmix2/folder.ts';
import { Pace } from '../../../agent/source/ssmix2/pace.ts';
import { Surveyor } from '../../../agent/source/ssmix2/survey.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { Tree } from './tree.ts';

const trees: Tree[] = [];
const surveyors: Surveyor[] = [];

afterEach(() => {
  for (const surveyor of surveyors.splice(0)) surveyor.close();
  for (const tree of trees.splice(0)) tree.remove();
});

function planted(careDates: readonly string[], patientId = '9990001'): Tree {
  const tree = new Tree();
  trees.push(tree);
  for (const careDate of careDates) tree.put({ patientId, careDate });
  return tree;
}

function surveyor(): Surveyor {
  const made = new Surveyor();
  surveyors.push(made);
  return made;
}

const folderOf = (tree: Tree, ...names: readonly string[]) => toPath(join(tree.root, '999/000/9990001', ...names));

describe('a survey', () => {
  it('has seen what looking oneself would see', async () => {
    const tree = planted(['-', '20200101', '20261120']);
    tree.put({ patientId: '9990001', careDate: '20261120', dataType: 'OMP-01' });
    const { patients, accesses } = await surveyor().order({ paths: [folderOf(tree)], since: undefined });
    expect(patients[0]?.listing).toEqual({ result: await listFolder(folderOf(tree)) });
    expect([...(patients[0]?.days.keys() ?? [])]).toEqual(['-', '20200101', '20261120']);
    expect(patients[0]?.days.get('20261120')).toEqual({
      result: {
        ...(await listFolder(folderOf(tree, '20261120'))),
        signatures: [
          { result: await signatureOf(folderOf(tree, '20261120', 'OML-11')) },
          { result: await signatureOf(folderOf(tree, '20261120', 'OMP-01')) },
        ],
      },
    });
    // The patient's folder, three care dates, four data types.
    expect(accesses).toBe(8);
  });

  it('looks at no care date that nobody asked for', async () => {
    const tree = planted(['20200101', '20261120']);
    const { patients } = await surveyor().order({ paths: [folderOf(tree)], since: '20261101' });
    expect([...(patients[0]?.days.keys() ?? [])]).toEqual(['20261120']);
    expect(patients[0]?.listing).toMatchObject({ result: { folders: ['20200101', '20261120'] } });
  });

  it('says what it could not see, and goes on', async () => {
    const tree = planted(['20200101']);
    const paths = [folderOf(tree, 'gone'), folderOf(tree)];
    const { patients } = await surveyor().order({ paths, since: undefined });
    expect(patients.map((seen) => seen?.listing)).toMatchObject([{ fault: 'ENOENT' }, { result: {} }]);
  });

  it('leaves out what would make it large, and lists it all the same', async () => {
    const dates = Array.from({ length: 150 }, (_, n) => String(20_200_101 + n));
    const tree = planted(dates);
    const { patients } = await surveyor().order({ paths: [folderOf(tree)], since: undefined });
    expect(patients[0]?.days.size).toBe(128);
    expect(patients[0]?.listing).toMatchObject({ result: { folders: dates } });
  });

  it('leaves out a folder with too many names, of a patient or of a day', async () => {
    const tree = planted(Array.from({ length: 2001 }, (_, n) => String(10_000_000 + n)));
    const other = planted(['20200101']);
    for (let n = 0; n <= 2000; n++) other.putAt(`999/000/9990001/20200101/junk-${n}`, Buffer.from('x'));
    const paths = [folderOf(tree), folderOf(other)];
    const { patients } = await surveyor().order({ paths, since: undefined });
    expect(patients[0]).toBeUndefined();
    expect(patients[1]).toEqual({ listing: { result: { folders: ['20200101'], files: [] } }, days: new Map() });
  });

  it('answers in the order it was asked', async () => {
    const tree = planted(['20200101', '20261120']);
    const asked = surveyor();
    const since = [undefined, '20261101', undefined];
    const answers = await Promise.all(since.map((day) => asked.order({ paths: [folderOf(tree)], since: day })));
    expect(answers.map(({ patients }) => patients[0]?.days.size)).toEqual([2, 1, 2]);
  });
});

it('counts for the rate with each of its accesses', async () => {
  const clock = new FakeClock('2026-11-23T10:00:00+09:00');
  const pace = new Pace(clock, 100);
  const { signal } = new AbortController();
  await pace.turn(signal);
  // A second's burst is free, and half a second more is not.
  pace.charge(150);
  let isNext = false;
  const next = pace.turn(signal).then(() => (isNext = true));
  await clock.advance(400);
  expect(isNext).toBe(false);
  await clock.advance(200);
  await next;
});
