/** Not how long it takes: that nothing grows with the tree. */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { recordsMax } from '../../../agent/source/ssmix2/draft.ts';
import { removeRigs, rig } from './host.ts';
import { contentOf, fileName, folderOf, Tree } from './tree.ts';

afterEach(removeRigs);

const patients = 250;
const datesEach = 4;
const filesEach = 25;
const fileCount = patients * datesEach * filesEach;

/** Open files of this process; the tests of this product run on Linux. */
const openFiles = () => (existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0);

it('holds no more files open, records at once and rows a draft for 25,000 files than for one', {
  timeout: 300_000,
}, async () => {
  const tree = new Tree();
  for (let n = 0; n < patients; n++) grow(tree, String(1_000_000 + n));
  const scanned = rig({}, [tree]);
  const before = openFiles();
  let openMax = 0;
  let keptMax = 0;
  scanned.intake.failure = () => {
    openMax = Math.max(openMax, openFiles());
    // The test's own copy must not be what grows.
    keptMax = Math.max(keptMax, scanned.intake.taken.splice(0).length);
    return undefined;
  };
  expect(await scanned.poll()).toMatchObject({ offered: fileCount, complete: true });
  expect(keptMax).toBeLessThanOrEqual(recordsMax);
  expect(openMax - before).toBeLessThanOrEqual(8);
  expect(Math.max(...scanned.intake.offers.map(({ records }) => records))).toBe(recordsMax);
  expect(Math.max(...scanned.intake.offers.map(({ states }) => states))).toBeLessThanOrEqual(recordsMax + 4);

  const lookUps = scanned.intake.lookUps;
  const offers = scanned.intake.offers.length;
  expect(await scanned.poll()).toMatchObject({ offered: 0, complete: true });
  // A known file costs nothing of its own: one look-up a care date in a pass, and one a patient.
  expect(scanned.intake.lookUps - lookUps).toBeLessThanOrEqual(2 * patients * datesEach + patients + 10);
  expect(scanned.intake.offers.length - offers).toBeLessThanOrEqual(2);
});

function grow(tree: Tree, patientId: string): void {
  for (let date = 0; date < datesEach; date++) {
    const place = { patientId, careDate: `2025010${date + 1}` };
    const folder = join(tree.root, folderOf(place));
    mkdirSync(folder, { recursive: true });
    const bytes = contentOf(place);
    for (let file = 0; file < filesEach; file++) {
      writeFileSync(join(folder, fileName({ ...place, orderNumber: String(file).padStart(15, '0') })), bytes);
    }
  }
}
