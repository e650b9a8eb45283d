import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { PatientName } from '../../../agent/model/record.ts';
import { bytesMax, recordsMax } from '../../../agent/source/ssmix2/draft.ts';
import { askedMax } from '../../../agent/source/ssmix2/deferral.ts';
import { listFolder, signatureOf, toPath } from '../../../agent/source/ssmix2/folder.ts';
import { relistEveryPasses, sliceMsMax, sliceMsMin } from '../../../agent/source/ssmix2/scan.ts';
import { dayMs, minuteMs } from '../../base/fake-clock.ts';
import { bufferFull } from '../../conformance/intake.ts';
import { operations, removeRigs, rig } from './host.ts';
import { contentOf, type FileParts, fileName, folderOf, hospital, Tree } from './tree.ts';

afterEach(removeRigs);

const patient = (n: number, parts: Partial<FileParts> = {}): FileParts => ({
  patientId: String(9990000 + n),
  ...parts,
});

/** As many patients, one file each, old enough that only a slice finds them. */
function crowd(tree: Tree, count: number, careDate = '20200101'): void {
  for (let n = 1; n <= count; n++) tree.put(patient(n, { careDate }));
}

describe('a first scan (REQ-SSM-1)', () => {
  it('takes what the grammar knows, byte for byte, and sets the rest aside with its reason and its bytes', async () => {
    const tree = new Tree();
    const { taken, quarantined } = hospital(tree);
    const scanned = rig({}, [tree]);
    expect(await scanned.poll()).toMatchObject({ offered: taken.length + quarantined.length, complete: true });
    const latin1 = (bytes: Buffer) => bytes.toString('latin1');
    const good = scanned.intake.taken.filter(({ facts }) => !facts.quarantine);
    expect(good.map(({ bytes }) => latin1(bytes)).toSorted()).toEqual(
      taken.map(({ bytes }) => latin1(bytes)).toSorted(),
    );
    const aside = scanned.intake.taken.filter(({ facts }) => facts.quarantine);
    expect(aside.map(({ bytes, facts }) => `${facts.quarantine} ${latin1(bytes)}`).toSorted()).toEqual(
      quarantined.map(({ reason, bytes }) => `${reason} ${latin1(bytes)}`).toSorted(),
    );
  });

  it('tells of each file whose it is, what it is, and when it was', async () => {
    const tree = new Tree();
    tree.put(patient(1, { dataType: 'ADT-00', careDate: '-', orderNumber: '9'.repeat(15), department: '-' }));
    tree.put(patient(1, { dataType: 'OMP-02', ending: '\x1c' }));
    const scanned = rig({ patientId: { pad: 10 } }, [tree]);
    await scanned.poll();
    const patients = [{ authority: '', id: '9990001', normalized: '0009990001' }];
    expect(scanned.intake.taken.map(({ facts }) => facts)).toEqual([
      {
        nativeKey: '9990001|-|ADT-00|999999999999999',
        versionKey: '9990001|-|ADT-00|999999999999999|20261120101500123|-',
        op: 'INS',
        category: 'demographics',
        lane: 'text',
        patients,
        eventAt: '2026-11-20T10:15:00.123+09:00',
        route: 'ssmix2-scan',
        mediaType: 'x-application/hl7-v2+er7',
        charset: 'iso-2022-jp',
        demographics: { nameKanji: '山本 マウ子', nameKana: 'マウ ソマ', birthDate: '1970-01-01', sex: 'F' },
      },
      expect.objectContaining({ category: 'injection', orderNumber: '000000000000001', patients }),
    ]);
  });

  it('leaves the storage as it was', async () => {
    const tree = new Tree();
    hospital(tree);
    const before = tree.names();
    const scanned = rig({}, [tree]);
    await scanned.poll();
    await scanned.poll();
    expect(tree.names()).toEqual(before);
  });

  it('scans every root, and names no root in what it reports', async () => {
    const trees = [new Tree(), new Tree()];
    trees[0]?.put(patient(1));
    trees[1]?.put(patient(1, { careDate: '20200101' }));
    const scanned = rig({}, trees);
    await scanned.poll();
    expect(operations(scanned)).toHaveLength(2);
    expect(trees.filter(({ root }) => JSON.stringify(scanned.events).includes(root))).toEqual([]);
  });

  it('keeps one record of a file with several messages, and sets it aside when they name two patients', async () => {
    const tree = new Tree();
    const both = (a: number, b: number) => Buffer.concat([contentOf(patient(a)), contentOf(patient(b))]);
    tree.put(patient(1), both(1, 1));
    tree.put(patient(2), both(2, 3));
    const scanned = rig({}, [tree]);
    await scanned.poll();
    expect(scanned.intake.taken.map(({ bytes, facts }) => [bytes.length, facts.quarantine])).toEqual([
      [both(1, 1).length, undefined],
      [both(2, 3).length, 'TWO_PATIENTS'],
    ]);
  });

  it("takes PID-3 for the path's patient when both are the same once normalised", async () => {
    const tree = new Tree();
    tree.put(patient(1, { pid: '0009990001^^^HOSP' }));
    const scanned = rig({ patientId: { strip: 'leading-zeros' } }, [tree]);
    await scanned.poll();
    expect(scanned.intake.taken[0]?.facts).toMatchObject({ patients: [{ authority: '', id: '9990001' }] });
    expect(scanned.intake.taken[0]?.facts.quarantine).toBeUndefined();
  });

  it('sets aside a file whose name is no text at all, under a folder of any name', async () => {
    const tree = new Tree();
    tree.put(patient(1, { dataType: 'constructor' }));
    const folder = join(tree.root, folderOf(patient(1)));
    mkdirSync(folder, { recursive: true });
    writeFileSync(Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0x93, 0xfa, 0xff])]), 'kanji in CP932');
    const scanned = rig({}, [tree]);
    await scanned.poll();
    await scanned.poll();
    expect(scanned.intake.taken.map(({ facts }) => facts.quarantine)).toEqual(['BAD_NAME', 'BAD_NAME']);
    expect(scanned.intake.taken[0]?.bytes.toString()).toBe('kanji in CP932');
  });
});

describe('a file that is being written', () => {
  it('is not read before it has been quiet for stableFor', async () => {
    const tree = new Tree();
    const file = tree.put(patient(1), contentOf(patient(1)).subarray(0, 40));
    const scanned = rig({ stableFor: '60s' }, [tree]);
    tree.touch(file, scanned.clock.now() - 59_000);
    await scanned.poll();
    tree.putAt(file.path, contentOf(patient(1)));
    tree.touch(file, scanned.clock.now());
    await scanned.poll();
    expect(scanned.intake.taken).toEqual([]);
    await scanned.clock.advance(minuteMs);
    await scanned.poll();
    expect(scanned.intake.taken.map(({ bytes }) => bytes)).toEqual([contentOf(patient(1))]);
  });

  it('is read when it has been the same for long enough by our clock, whatever the file server takes for the time', async () => {
    const tree = new Tree();
    const file = tree.put(patient(1));
    const scanned = rig({}, [tree]);
    tree.touch(file, scanned.clock.now() + dayMs);
    await scanned.poll();
    // Two runs by hand within a second prove nothing.
    await scanned.poll();
    expect(scanned.intake.taken).toEqual([]);
    await scanned.clock.advance(minuteMs);
    await scanned.poll();
    expect(scanned.intake.taken).toHaveLength(1);
  });

  it('is not set aside while it has no byte', async () => {
    const tree = new Tree();
    const file = tree.put(patient(1), Buffer.alloc(0));
    const scanned = rig({}, [tree]);
    await scanned.poll();
    await scanned.poll();
    expect(scanned.intake.taken).toEqual([]);
    tree.putAt(file.path, file.bytes);
    tree.put(patient(1));
    await scanned.poll();
    expect(scanned.intake.taken).toHaveLength(1);
  });

  it('is offered anew when it was set aside and written again', async () => {
    const tree = new Tree();
    const file = tree.put(patient(1), Buffer.from('half'));
    const scanned = rig({}, [tree]);
    await scanned.poll();
    expect(scanned.intake.taken.map(({ facts }) => facts.quarantine)).toEqual(['UNREADABLE']);
    tree.putAt(file.path, contentOf(patient(1)));
    tree.put(patient(1, { orderNumber: '000000000000002' }));
    await scanned.poll();
    expect(scanned.intake.taken.map(({ facts }) => facts.quarantine)).toEqual(['UNREADABLE', undefined, undefined]);
  });

  it('may be renamed between listing and reading, and is found again in the next run', async () => {
    const tree = new Tree();
    tree.put(patient(1));
    const second = tree.put(patient(1, { orderNumber: '000000000000002' }));
    const scanned = rig({}, [tree]);
    const now = scanned.clock.now.bind(scanned.clock);
    let questions = 0;
    // The time is asked for when a run begins, and then of each file before it is read.
    scanned.clock.now = () => {
      if (++questions === 2) tree.reflag(second, '2');
      return now();
    };
    await scanned.poll();
    expect(operations(scanned)).toEqual(['INS 9990001|20261120|OML-11|000000000000001']);
    tree.put(patient(1, { orderNumber: '000000000000002', time: '20261121101500123' }));
    await scanned.poll();
    expect(operations(scanned)).toHaveLength(2);
    expect(scanned.events).toEqual([]);
  });
});

describe('a file too large', () => {
  it('is not taken, and is told and noted as a gap once', async () => {
    const tree = new Tree();
    tree.put(patient(1), Buffer.concat([contentOf(patient(1)), Buffer.alloc(64 * 1024, 'x')]));
    const scanned = rig({ maxFile: '64K' }, [tree]);
    await scanned.poll();
    await scanned.poll();
    expect(scanned.intake.taken).toEqual([]);
    expect([...scanned.intake.gaps.values()]).toEqual(['INCOMPLETE']);
    expect(scanned.events.map(({ name, code }) => [name, code])).toEqual([['record.rejected', 'RECORD_TOO_LARGE']]);
  });
});

describe('a known tree', () => {
  it('costs one look-up a care date, and no listing of files', async () => {
    const tree = new Tree();
    for (let n = 1; n <= 20; n++) {
      for (const orderNumber of ['000000000000001', '000000000000002', '000000000000003'])
        tree.put(patient(n, { orderNumber }));
    }
    const scanned = rig({}, [tree]);
    await scanned.poll();
    const before = scanned.intake.lookUps;
    await scanned.poll();
    // 20 days in each of the two passes, 20 patients' deferrals, and what the run itself remembers.
    expect(scanned.intake.lookUps - before).toBeLessThanOrEqual(3 * 20 + 4);
    expect(scanned.intake.taken).toHaveLength(60);
  });

  it('does not believe the times of a folder that changed just now', async () => {
    const tree = new Tree();
    const file = tree.put(patient(1));
    const scanned = rig({ stableFor: '60s' }, [tree]);
    scanned.clock.step(-10 * minuteMs);
    tree.touch(file, scanned.clock.now() - dayMs);
    const remembered = () =>
      String(Object.entries(scanned.intake.memory()).find(([key]) => key.startsWith('day'))?.[1]);
    await scanned.poll();
    expect(scanned.intake.taken).toHaveLength(1);
    expect(remembered()).toContain('"t":{}');
    scanned.clock.step(10 * minuteMs);
    await scanned.poll();
    expect(remembered()).toContain('"t":{"OML-11":');
  });

  it('is asked about recent care dates in every run, about old ones within fullScanDays', async () => {
    const tree = new Tree();
    crowd(tree, 10);
    const scanned = rig({ fullScanDays: 10, recentDays: 31 }, [tree]);
    await scanned.poll();
    // Each look takes so long that a run does no more of the slice than its share.
    scanned.intake.wish = () => {
      scanned.clock.freeze(sliceMsMin);
      return 'take';
    };
    for (let n = 1; n <= 10; n++) tree.put(patient(n, { careDate: '20200101', orderNumber: '000000000000002' }));
    tree.put(patient(10, { orderNumber: '000000000000003' }));
    const found: number[] = [];
    for (let day = 0; day < 12 && scanned.intake.taken.length < 21; day++) {
      await scanned.poll();
      found.push(scanned.intake.taken.length);
      scanned.clock.freeze(dayMs);
    }
    // The recent one at once, the old ones a few in every run.
    expect(operations(scanned)[10]).toBe('INS 9990010|20261120|OML-11|000000000000003');
    expect(found[0]).toBeLessThan(14);
    expect(found.at(-1)).toBe(21);
    expect(found.length).toBeLessThanOrEqual(11);
  });

  it('says that there is more to do when a run has no more time', async () => {
    const tree = new Tree();
    crowd(tree, 5);
    const scanned = rig({}, [tree]);
    scanned.intake.wish = () => {
      scanned.clock.freeze(sliceMsMax);
      return 'take';
    };
    const tallies = [];
    for (let run = 0; run < 6; run++) tallies.push(await scanned.poll());
    expect(tallies[0]).toMatchObject({ complete: false, offered: 1 });
    expect(tallies.some(({ complete }) => complete)).toBe(true);
    expect(operations(scanned)).toHaveLength(5);
  });

  it('looks at the folder without date of a patient who came, though the slice is elsewhere', async () => {
    const tree = new Tree();
    crowd(tree, 9);
    const parts = patient(9, { careDate: '-', dataType: 'ADT-00' });
    const file = tree.put(parts);
    const scanned = rig({}, [tree]);
    await scanned.poll();
    scanned.intake.wish = () => {
      scanned.clock.freeze(sliceMsMin);
      return 'take';
    };
    tree.reflag(file, '2');
    tree.put({ ...parts, time: '20261122101500123' });
    await scanned.poll();
    expect(operations(scanned)).toHaveLength(10);
    tree.put(patient(9, { dataType: 'ADT-12' }));
    await scanned.poll();
    expect(operations(scanned).slice(10)).toEqual([
      'INS 9990009|-|ADT-00|000000000000001',
      'INS 9990009|20261120|ADT-12|000000000000001',
    ]);
  });

  it('is listed whole now and then, so that a file server that hides a change hides it for some passes only', async () => {
    const tree = new Tree();
    tree.put(patient(1));
    const scanned = rig({}, [tree]);
    await scanned.poll();
    tree.put(patient(1, { orderNumber: '000000000000002' }));
    const key = `${tree.root}\n999/000/9990001/20261120`;
    const { text } = await signatureOf(toPath(join(tree.root, folderOf(patient(1)))));
    const row = JSON.parse(String(Buffer.from(scanned.intake.state('day', key)?.value ?? []))) as { t: object };
    const value = Buffer.from(JSON.stringify({ ...row, t: { 'OML-11': text } }));
    await scanned.intake.accept({ records: [], state: [{ kind: 'day', key, value }] });
    await scanned.poll();
    expect(operations(scanned)).toHaveLength(1);
    for (let run = 2; run < relistEveryPasses; run++) await scanned.poll();
    await scanned.poll();
    expect(operations(scanned)).toHaveLength(2);
  });

  it('stops at the brake, tells somebody, and goes on at the next run', async () => {
    const tree = new Tree();
    tree.put(patient(1));
    const scanned = rig({ changesMax: 3 }, [tree]);
    await scanned.poll();
    for (let n = 2; n <= 8; n++) tree.put(patient(n));
    const tallies = [await scanned.poll(), await scanned.poll(), await scanned.poll()];
    expect(tallies.map(({ offered, complete }) => [offered, complete])).toEqual([
      [3, false],
      [3, false],
      [1, true],
    ]);
    expect(new Set(operations(scanned)).size).toBe(8);
    expect(scanned.events.map(({ code }) => code)).toEqual(['SSMIX2_TOO_MANY_CHANGES', 'SSMIX2_TOO_MANY_CHANGES']);
  });
});

describe('the gate', () => {
  const asked = (calls: string[], wish: 'take' | 'defer' | 'never') => (name: PatientName, category: string) => {
    calls.push(`${name.id} ${category}`);
    return wish;
  };

  it('is asked before a file is read, and what it defers is fetched when the patient becomes eligible', async () => {
    const tree = new Tree();
    const file = tree.put(patient(1, { careDate: '20200101' }));
    tree.put(patient(2, { careDate: '20200101' }));
    const scanned = rig({}, [tree]);
    const calls: string[] = [];
    scanned.intake.wish = asked(calls, 'defer');
    await scanned.poll();
    expect(scanned.intake.taken).toEqual([]);
    expect(new Set(calls)).toEqual(new Set(['9990001 lab-result', '9990002 lab-result']));
    expect([...scanned.intake.gaps.values()]).toEqual(['DEFERRED', 'DEFERRED']);

    scanned.intake.wish = ({ id }) => (id === '9990001' ? 'take' : 'defer');
    await scanned.poll();
    expect(scanned.intake.taken.map(({ bytes }) => bytes)).toEqual([file.bytes]);
    expect(scanned.intake.gaps.size).toBe(1);
    await scanned.poll();
    expect(scanned.intake.taken).toHaveLength(1);
  });

  it('fetches what is eligible of a patient and keeps waiting for the rest', async () => {
    const tree = new Tree();
    tree.put(patient(1));
    tree.put(patient(1, { dataType: 'OMP-01' }));
    const scanned = rig({}, [tree]);
    scanned.intake.wish = () => 'defer';
    await scanned.poll();
    scanned.intake.wish = (_, category) => (category === 'lab-result' ? 'take' : 'defer');
    await scanned.poll();
    expect(scanned.intake.taken.map(({ facts }) => facts.category)).toEqual(['lab-result']);
    expect(scanned.intake.gaps.size).toBe(1);
    scanned.intake.wish = () => 'take';
    await scanned.poll();
    expect(scanned.intake.taken.map(({ facts }) => facts.category)).toEqual(['lab-result', 'prescription']);
    expect(scanned.intake.gaps.size).toBe(0);
  });

  it('tells a deferred deletion when the patient is eligible again', async () => {
    const tree = new Tree();
    const file = tree.put(patient(1));
    const scanned = rig({}, [tree]);
    await scanned.poll();
    scanned.intake.wish = () => 'defer';
    tree.reflag(file, '0');
    await scanned.poll();
    expect(operations(scanned)).toHaveLength(1);
    scanned.intake.wish = () => 'take';
    await scanned.poll();
    expect(operations(scanned).at(-1)).toBe('DEL 9990001|20261120|OML-11|000000000000001');
    expect(scanned.intake.gaps.size).toBe(0);
  });

  it('reads and remembers nothing of a patient who has said no, not even a file with a bad name', async () => {
    const tree = new Tree();
    tree.put(patient(1));
    tree.put(patient(1, { flag: '2', orderNumber: '000000000000002' }));
    tree.putAt(join(folderOf(patient(1)), 'broken_name'), Buffer.from('x'));
    tree.putAt(join(folderOf(patient(2)), fileName(patient(1))), contentOf(patient(1)));
    tree.putAt('999/000/9990001/20261120/left-here', contentOf(patient(1)));
    tree.putAt('999/000/9990001/left-here', contentOf(patient(1)));
    tree.putAt('998/000/9990001/20261120/OML-11/left-here', contentOf(patient(1)));
    const scanned = rig({}, [tree]);
    scanned.intake.wish = ({ id }) => (id === '9990001' ? 'never' : 'take');
    await scanned.poll();
    expect(scanned.intake.taken).toEqual([]);
    expect(scanned.intake.gaps.size).toBe(0);
    expect(Object.keys(scanned.intake.memory()).filter((key) => key.includes('9990001'))).toEqual([]);
  });

  it('forgets what was waiting when the patient says no', async () => {
    const tree = new Tree();
    tree.put(patient(1));
    const scanned = rig({}, [tree]);
    scanned.intake.wish = () => 'defer';
    await scanned.poll();
    scanned.intake.wish = () => 'never';
    await scanned.poll();
    expect(scanned.intake.gaps.size).toBe(0);
    expect(Object.keys(scanned.intake.memory()).filter((key) => key.includes('9990001'))).toEqual([]);
  });
});

it('asks about no more patients in one run than it may, those asked longest ago first', async () => {
  const tree = new Tree();
  const scanned = rig({}, [tree]);
  const state = Array.from({ length: askedMax + 300 }, (_, n) => {
    const deferral = {
      root: 'of-another-time',
      path: ['1', '2', String(n)],
      patientId: String(n),
      categories: ['image'],
    };
    return { kind: 'deferred', key: `of-another-time\n1/2/${n}`, value: Buffer.from(JSON.stringify(deferral)) };
  });
  await scanned.intake.accept({ records: [], state });
  scanned.intake.wish = () => 'defer';
  await scanned.poll();
  expect(scanned.intake.states('deferred', { below: 1, limit: askedMax })).toHaveLength(300);
  await scanned.poll();
  expect(scanned.intake.states('deferred', { below: 1, limit: askedMax })).toHaveLength(0);
});

describe('a share that fails', () => {
  it('says so when a root is not there, and scans the others', async () => {
    const trees = [new Tree(), new Tree()];
    trees[1]?.put(patient(1));
    const scanned = rig({}, trees);
    trees[0]?.remove();
    await expect(scanned.poll()).rejects.toMatchObject({ code: 'SSMIX2_ROOT_UNREADABLE', class: 'transient' });
    expect(operations(scanned)).toHaveLength(1);
  });

  it('takes an empty mount point of a known tree for a share that is not mounted', async () => {
    const tree = new Tree();
    tree.put(patient(1));
    const scanned = rig({}, [tree]);
    await scanned.poll();
    rmSync(join(tree.root, '999'), { recursive: true });
    await expect(scanned.poll()).rejects.toMatchObject({ code: 'SSMIX2_ROOT_UNREADABLE' });
    expect(await scanned.source.probe()).toMatchObject({ ok: false, error: { code: 'SSMIX2_ROOT_UNREADABLE' } });
  });

  it('does not go on past what it could not read when the share vanishes in the middle', async () => {
    const tree = new Tree();
    crowd(tree, 20);
    const scanned = rig({}, [tree]);
    let questions = 0;
    scanned.intake.wish = () => {
      if (++questions === 7) renameSync(tree.root, `${tree.root}-away`);
      return 'take';
    };
    await expect(scanned.poll()).rejects.toMatchObject({ code: 'SSMIX2_ROOT_UNREADABLE' });
    const cursor = Object.entries(scanned.intake.memory()).filter(([key]) => key.startsWith('cursor'));
    expect(cursor.map(([, value]) => value).join()).not.toContain('fullAfter":["999","001"');
    renameSync(`${tree.root}-away`, tree.root);
    expect(await scanned.poll()).toMatchObject({ complete: true });
    expect(operations(scanned)).toHaveLength(20);
    expect(new Set(operations(scanned)).size).toBe(20);
  });

  it('tells of a folder it cannot read, and scans the rest', async () => {
    const tree = new Tree();
    crowd(tree, 3, '20261120');
    const scanned = rig({}, [tree]);
    scanned.intake.wish = ({ id }) => {
      // Asked before the folder is listed. Permissions do not refuse a test that runs as root; a file in its place does.
      const folder = join(tree.root, folderOf(patient(2)));
      if (id === '9990002') rmSync(folder, { recursive: true });
      if (id === '9990002') writeFileSync(folder, '');
      return 'take';
    };
    await scanned.poll();
    expect(scanned.intake.taken.map(({ facts }) => facts.patients[0]?.id)).toEqual(['9990001', '9990003']);
    const failed = scanned.events.filter(({ name }) => name === 'source.failed');
    expect(failed.map(({ code, numbers }) => [code, numbers])).toEqual([['SSMIX2_FOLDER_UNREADABLE', { folders: 1 }]]);
  });

  it('gives up a folder with more entries than it may hold, and says why', async () => {
    const tree = new Tree();
    crowd(tree, 5);
    await expect(listFolder(toPath(join(tree.root, '999/000')), 4)).rejects.toMatchObject({
      code: 'SSMIX2_FOLDER_UNREADABLE',
      class: 'permanent',
    });
    tree.remove();
  });

  it('finds the storage well, with its newest file', async () => {
    const tree = new Tree();
    tree.put(patient(1));
    const scanned = rig({}, [tree]);
    expect(await scanned.source.probe()).toEqual({ ok: true, peer: 'SS-MIX2 storage, 1 root(s), not scanned yet' });
    await scanned.poll();
    expect(await scanned.source.probe()).toEqual({
      ok: true,
      peer: 'SS-MIX2 storage, 1 root(s), newest file 2026-11-20T10:15:00.123+09:00',
    });
  });
});

describe('a run that is broken off', () => {
  it.each([0, 1, 7, 33, 250, 431])(
    'offers every file once in all when it is aborted after %i questions',
    async (limit) => {
      const tree = new Tree();
      crowd(tree, 230);
      crowd(tree, 230, '20261120');
      const scanned = rig({}, [tree]);
      const aborting = new AbortController();
      let questions = 0;
      scanned.intake.wish = () => {
        if (questions++ === limit) aborting.abort();
        return 'take';
      };
      expect(await scanned.poll(aborting.signal)).toMatchObject({ complete: false });
      // As after a restart: only what was committed is known.
      const again = scanned.restart();
      expect(await again.poll()).toMatchObject({ complete: true });
      expect(operations(again)).toHaveLength(460);
      expect(new Set(operations(again)).size).toBe(460);
    },
  );

  it('leaves the catalogue where it was when the intake is full, also in the middle', async () => {
    const tree = new Tree();
    crowd(tree, 2 * recordsMax + 50);
    const scanned = rig({}, [tree]);
    let memory = {};
    scanned.intake.failure = () => {
      if (scanned.intake.taken.length < recordsMax) return undefined;
      memory = scanned.intake.memory();
      return bufferFull();
    };
    await expect(scanned.poll()).rejects.toMatchObject({ code: 'BUFFER_FULL' });
    expect(scanned.intake.taken).toHaveLength(recordsMax);
    expect(scanned.intake.memory()).toEqual(memory);
    scanned.intake.failure = undefined;
    await scanned.poll();
    expect(new Set(operations(scanned)).size).toBe(2 * recordsMax + 50);
    expect(operations(scanned)).toHaveLength(2 * recordsMax + 50);
  });

  it('offers no more at once than one transaction should hold', async () => {
    const tree = new Tree();
    const large = Buffer.alloc(3 * 1024 * 1024, 'x');
    for (let n = 1; n <= 4; n++) tree.put(patient(n), Buffer.concat([contentOf(patient(n)), large]));
    crowd(tree, recordsMax + 1);
    const scanned = rig({}, [tree]);
    await scanned.poll();
    expect(Math.max(...scanned.intake.offers.map(({ records }) => records))).toBe(recordsMax);
    expect(Math.max(...scanned.intake.offers.map(({ bytes }) => bytes))).toBeLessThan(bytesMax + 4 * 1024 * 1024);
  });

  it('waits its turn: no more files a second than it may', async () => {
    const tree = new Tree();
    crowd(tree, 5, '20261120');
    const scanned = rig({ filesPerSecond: 1 }, [tree]);
    const polled = scanned.poll();
    await scanned.clock.advance(1_000);
    expect(scanned.intake.taken).toHaveLength(0);
    const state = { isDone: false };
    const done = polled.finally(() => {
      state.isDone = true;
    });
    while (!state.isDone) await scanned.clock.advance(10_000);
    await done;
    expect(scanned.intake.taken).toHaveLength(5);
  });
});
