/** What the writer of the storage does to a file, and what a producer is told of it (REQ-SSM-2). */
import { afterEach, describe, expect, it } from 'vitest';
import * as fc from 'fast-check';
import { minuteMs } from '../../base/fake-clock.ts';
import { sliceMsMax } from '../../../agent/source/ssmix2/scan.ts';
import { operations, removeRigs, rig, type Rig } from './host.ts';
import { type FileParts, Tree, type TreeFile } from './tree.ts';

afterEach(removeRigs);

const order: FileParts = { patientId: '9990001', orderNumber: '000000000000001' };
const key = '9990001|20261120|OML-11|000000000000001';
const later = { ...order, time: '20261121090000000' };
const latest = { ...order, time: '20261122090000000' };

/** A storage that was scanned once, with one order in it. */
async function known(): Promise<{ tree: Tree; scanned: Rig; file: TreeFile; from: number }> {
  const tree = new Tree();
  const file = tree.put(order);
  const scanned = rig({}, [tree]);
  await scanned.poll();
  return { tree, scanned, file, from: scanned.intake.taken.length };
}

describe('the condition flag (REQ-SSM-2)', () => {
  it('tells a new file with 1 as INS of this version', async () => {
    const { tree, scanned, from } = await known();
    tree.put({ ...order, orderNumber: '000000000000002' });
    await scanned.poll();
    expect(operations(scanned, from)).toEqual(['INS 9990001|20261120|OML-11|000000000000002']);
    expect(scanned.intake.taken.at(-1)?.facts.versionKey).toBe(
      '9990001|20261120|OML-11|000000000000002|20261120101500123|01',
    );
  });

  it('tells an update, 1 to 2 and a new 1, as one INS of the new version', async () => {
    const { tree, scanned, file, from } = await known();
    tree.reflag(file, '2');
    const updated = tree.put(later);
    await scanned.poll();
    expect(operations(scanned, from)).toEqual([`INS ${key}`]);
    expect(scanned.intake.taken.at(-1)?.bytes).toEqual(updated.bytes);
  });

  it('tells nothing of 1 to 2 alone', async () => {
    const { tree, scanned, file, from } = await known();
    tree.reflag(file, '2');
    await scanned.poll();
    expect(operations(scanned, from)).toEqual([]);
  });

  it('tells 1 to 0 as DEL of the logical key', async () => {
    const { tree, scanned, file, from } = await known();
    tree.reflag(file, '0');
    await scanned.poll();
    expect(operations(scanned, from)).toEqual([`DEL ${key}`]);
  });

  it('tells 2 to 0 as DEL too, when what it was had been handed over', async () => {
    const { tree, scanned, file, from } = await known();
    const superseded = tree.reflag(file, '2');
    await scanned.poll();
    tree.reflag(superseded, '0');
    await scanned.poll();
    expect(operations(scanned, from)).toEqual([`DEL ${key}`]);
  });

  it('tells a new file with 0 as DEL, with the bytes of the deletion itself', async () => {
    const { tree, scanned, from } = await known();
    const message = tree.put({ ...later, flag: '0', orderNumber: '000000000000009' });
    await scanned.poll();
    expect(operations(scanned, from)).toEqual(['DEL 9990001|20261120|OML-11|000000000000009']);
    expect(scanned.intake.taken.at(-1)?.bytes).toEqual(message.bytes);
  });

  it('tells a whole deletion, 1 and 2 to 0 and a new 0, as one DEL carried by the new file', async () => {
    const { tree, scanned, file, from } = await known();
    const superseded = tree.reflag(file, '2');
    const current = tree.put(later);
    await scanned.poll();
    tree.reflag(superseded, '0');
    tree.reflag(current, '0');
    const message = tree.put({ ...latest, flag: '0' });
    await scanned.poll();
    await scanned.poll();
    expect(operations(scanned, from)).toEqual([`INS ${key}`, `DEL ${key}`]);
    expect(scanned.intake.taken.at(-1)?.bytes).toEqual(message.bytes);
  });

  it('waits for the new 0 of a deletion that is still being written', async () => {
    const { tree, scanned, file, from } = await known();
    tree.reflag(file, '0');
    const message = tree.put({ ...later, flag: '0' });
    tree.touch(message, scanned.clock.now());
    await scanned.poll();
    expect(operations(scanned, from)).toEqual([]);
    await scanned.clock.advance(minuteMs);
    await scanned.poll();
    expect(operations(scanned, from)).toEqual([`DEL ${key}`]);
  });

  it('tells DEL before INS when an order was deleted and entered anew between two runs', async () => {
    const { tree, scanned, file, from } = await known();
    tree.reflag(file, '0');
    tree.put({ ...later, flag: '0' });
    tree.put(latest);
    await scanned.poll();
    expect(operations(scanned, from)).toEqual([`DEL ${key}`, `INS ${key}`]);
  });

  it('takes only 1 at first sight, and does not tell later what was 2 or 0 then', async () => {
    const tree = new Tree();
    tree.put({ ...order, flag: '2' });
    tree.put({ ...later, flag: '1' });
    tree.put({ ...order, orderNumber: '000000000000002', flag: '0' });
    const scanned = rig({}, [tree]);
    await scanned.poll();
    await scanned.poll();
    expect(operations(scanned)).toEqual([`INS ${key}`]);
  });

  it('tells a deletion during the first load only of what it has handed over itself', async () => {
    const tree = new Tree();
    const file = tree.put(order);
    for (const patientId of ['1110001', '1110002', '1110003']) tree.put({ patientId, careDate: '20200101' });
    const scanned = rig({}, [tree]);
    // Each old file takes a whole run's time: the recent one is known long before the tree is.
    scanned.intake.wish = ({ id }) => {
      if (id !== '9990001') scanned.clock.freeze(sliceMsMax);
      return 'take';
    };
    expect(await scanned.poll()).toMatchObject({ complete: false });
    tree.reflag(file, '0');
    tree.put({ ...later, flag: '0', orderNumber: '000000000000002' });
    expect(await scanned.poll()).toMatchObject({ complete: false });
    expect(operations(scanned).filter((told) => told.includes('9990001'))).toEqual([`INS ${key}`, `DEL ${key}`]);
  });

  it('concludes nothing from a file that vanished, nor from its coming back', async () => {
    const { tree, scanned, file, from } = await known();
    tree.delete(file);
    await scanned.poll();
    tree.putAt(file.path, file.bytes);
    await scanned.poll();
    expect(operations(scanned, from)).toEqual([]);
    expect(scanned.intake.gaps.size).toBe(0);
  });

  it('believes the later stage when a copied file lies there under two flags', async () => {
    const { tree, scanned, file, from } = await known();
    tree.putAt(file.path.replace(/1$/, '0'), file.bytes);
    await scanned.poll();
    await scanned.poll();
    expect(operations(scanned, from)).toEqual([`DEL ${key}`]);
  });
});

/** What the storage's writer does to one order, with or without a run between every two of its own steps. */
interface Deed {
  readonly act: 'update' | 'delete' | 'poll';
  readonly order: number;
  readonly isInterrupted: boolean;
}

/** The writer, by the guideline: an update renames and writes, a deletion renames all and may write its message. */
class Writer {
  readonly #tree: Tree;
  readonly #versions = new Map<number, TreeFile[]>();
  #time = 20261101000000;

  constructor(tree: Tree) {
    this.#tree = tree;
  }

  /** Pauses after each step. */
  *act({ act, order: number }: Deed): Generator<void> {
    const versions = this.#versions.get(number) ?? [];
    this.#versions.set(number, versions);
    if (act === 'update') {
      yield* this.#reflag(versions, '1', '2');
      versions.push(this.#write(number, '1'));
    }
    if (act === 'delete' && versions.length > 0) {
      yield* this.#reflag(versions, '1', '0');
      yield* this.#reflag(versions, '2', '0');
      // Some vendors write no message.
      if (number % 2 === 0) versions.push(this.#write(number, '0'));
    }
  }

  /** The bytes that are valid now, by order number. */
  valid(): Map<string, string> {
    const current = new Map<string, string>();
    for (const [number, versions] of this.#versions) {
      const file = versions.find(({ path }) => path.endsWith('_1'));
      if (file) current.set(this.#parts(number).orderNumber ?? '', file.bytes.toString('latin1'));
    }
    return current;
  }

  #write(number: number, flag: '0' | '1'): TreeFile {
    this.#time++;
    return this.#tree.put({ ...this.#parts(number), time: String(this.#time), flag });
  }

  *#reflag(versions: TreeFile[], from: '1' | '2', to: '0' | '2'): Generator<void> {
    for (const [index, file] of versions.entries()) {
      if (!file.path.endsWith(`_${from}`)) continue;
      versions[index] = this.#tree.reflag(file, to);
      yield;
    }
  }

  #parts(number: number): FileParts {
    const careDate = number % 3 === 0 ? '20240229' : '20261120';
    return { patientId: `99900${number % 2}1`, careDate, orderNumber: String(number).padStart(15, '0') };
  }
}

/** What a producer holds who applies every operation in the order it came. */
function held({ intake }: Rig): Map<string, string> {
  const current = new Map<string, string>();
  for (const { facts, bytes } of intake.taken) {
    const number = facts.nativeKey.split('|')[3] ?? '';
    if (facts.op === 'DEL') current.delete(number);
    else current.set(number, bytes.toString('latin1'));
  }
  return current;
}

it('leaves a producer with what is valid, whatever the writer did between whichever runs', async () => {
  const deed: fc.Arbitrary<Deed> = fc.record({
    act: fc.constantFrom('update', 'update', 'delete', 'poll'),
    order: fc.integer({ min: 1, max: 4 }),
    isInterrupted: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(deed, { maxLength: 16 }), async (deeds) => {
      const tree = new Tree();
      const scanned = rig({}, [tree]);
      const writer = new Writer(tree);
      for (const each of deeds) {
        for (const _ of writer.act(each)) if (each.isInterrupted) await scanned.poll();
        if (each.act === 'poll') await scanned.poll();
      }
      await scanned.poll();
      expect(held(scanned)).toEqual(writer.valid());
      const inserted = scanned.intake.taken.filter(({ facts }) => facts.op === 'INS');
      expect(new Set(inserted.map(({ facts }) => facts.versionKey)).size).toBe(inserted.length);
    }),
    { numRuns: 60 },
  );
});
