/**
 * Random histories of the whole flow against a plain model of what it promises: thousands of them, each from a fresh
 * state on a real database. A failure prints its seed and the shortest history that shows it;
 * `KAKEHASHI_SEED=… KAKEHASHI_HISTORIES=…` run it again, or many more.
 */
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { addDays } from '../../agent/base/clock.ts';
import { deliveryStates } from '../../agent/buffer/deliveries.ts';
import { pack, parcelPath } from '../../agent/flow/pack.ts';
import { addFiling, addNoticeVersion, notify } from '../../agent/flow/register.ts';
import { crashPoints } from '../../agent/flow/store.ts';
import { anon, Flow, ldi, ManualTime, nameOf, newFolder, today } from '../flow/harness.ts';
import { commands, versionOf } from './commands.ts';
import { FarEnd } from './far-end.ts';
import { basisOf, Model, producers, textItems } from './model.ts';
import { compare, System, type SystemOptions } from './system.ts';

const histories = Number(process.env['KAKEHASHI_HISTORIES'] ?? 2_000);
const seed = process.env['KAKEHASHI_SEED'];
/** Packing takes ten times as long as all the rest of a history. */
const packedHistories = Math.ceil(histories / 20);
const stepsMax = 40;
/** From so many on, chance leaves nothing out: the rarest point is passed a dozen times. */
const coveringHistories = 2_000;

/** What every history begins with: both producers filed, patients 1 and 2 told, 3 told for one of them, 4 never. */
const filedFrom = -100;
const toldOn = -60;
const told = [
  ['1', 'ldi'],
  ['1', 'anon'],
  ['2', 'ldi'],
  ['2', 'anon'],
  ['3', 'ldi'],
] as const;
const all = textItems['all'] ?? [];

/** All histories begin as copies of one state, with one index key: the same record has one id in all of them. */
const template = newFolder('template');
beforeAll(() => beginning(template));
afterAll(() => rmSync(template, { recursive: true, force: true }));

function beginning(folder: string): void {
  const flow = new Flow({ folder, producers: [ldi, anon] });
  for (const to of producers) {
    for (const [text, categories] of Object.entries(textItems)) {
      const notice = { version: versionOf(to, text), basis: basisOf[to], categories, from: '2025-01-01' };
      addNoticeVersion(flow.store, notice, 'test');
    }
    const from = addDays(today, filedFrom);
    addFiling(flow.store, { producer: to, basis: basisOf[to], categories: all, from }, 'test');
  }
  for (const [patient, to] of told) {
    const on = addDays(today, toldOn);
    notify(flow.store, { name: nameOf(patient), version: versionOf(to, 'all'), on, via: 'test' });
  }
  flow.store.db.pragma('wal_checkpoint(TRUNCATE)');
  flow.close();
}

function begun(): string {
  const folder = newFolder('history');
  for (const name of ['connector.sqlite', 'site.key']) copyFileSync(join(template, name), join(folder, name));
  return folder;
}

function modelOfBeginning(farEnds: SystemOptions['farEnds']): Model {
  const model = new Model(farEnds);
  for (const to of producers) model.file(to, all, filedFrom);
  for (const [patient, to] of told) model.tell(patient, basisOf[to], 'all', toldOn);
  return model;
}

function newFarEnds(): SystemOptions['farEnds'] {
  return { ldi: new FarEnd('ldi'), anon: new FarEnd('anon') };
}

/** A file, and its row: thousands of histories need no encryption, which has tests of its own. */
const packFaked: SystemOptions['pack'] = (flow, _, row) => {
  const { store } = flow;
  mkdirSync(store.parcelsFolder, { recursive: true });
  const { pid, lane } = flow.parcel(row);
  writeFileSync(parcelPath(store, { pid, lane }), 'sealed');
  store.reached('pack:file-durable');
  const provision = store.ledger.sealProvision(pid, Buffer.from('[]'));
  store.parcels.packed(row, { bytes: 6, sha256: 'ab'.repeat(32), subjects: 1, provision });
};

const packForReal: SystemOptions['pack'] = async (flow, to, row) => {
  const isPacked = await pack(flow.store, flow.producer(to), row, new AbortController().signal);
  if (!isPacked) throw new Error('nothing was packed');
};

/** What was reached in all histories together. */
interface Coverage {
  readonly states: Set<string>;
  readonly crashes: Set<string>;
  restores: number;
}

async function runHistories(count: number, pack: SystemOptions['pack']): Promise<Coverage> {
  const coverage: Coverage = { states: new Set(), crashes: new Set(), restores: 0 };
  const history = fc.commands(commands, { maxCommands: stepsMax, size: 'max' });
  const run = async (sequence: Iterable<fc.AsyncCommand<Model, System>>) => {
    const folder = begun();
    const time = new ManualTime();
    const farEnds = newFarEnds();
    const make: SystemOptions['make'] = (reached) => new Flow({ folder, time, producers: [ldi, anon], reached });
    const system = new System({ make, farEnds, pack });
    try {
      await fc.asyncModelRun(() => ({ model: modelOfBeginning(farEnds), real: system }), sequence);
      for (const { state } of system.flow.store.deliveries.tally()) coverage.states.add(state);
      for (const point of system.crashes) coverage.crashes.add(point);
      coverage.restores += system.restores;
    } finally {
      system.remove();
    }
  };
  const options = { numRuns: count, ...(seed !== undefined && { seed: Number(seed) }) };
  await fc.assert(fc.asyncProperty(history, run), options);
  return coverage;
}

it(`behaves like the model in ${histories} histories, whenever the plug is pulled or the machine is lost`, async () => {
  const { states, crashes, restores } = await runHistories(histories, packFaked);
  // The histories went somewhere: every state of a delivery was reached, and every point passed with the plug pulled.
  if (histories < coveringHistories) return;
  expect([...states].toSorted()).toEqual(deliveryStates.toSorted());
  expect([...crashes].toSorted()).toEqual(crashPoints.toSorted());
  expect(restores).toBeGreaterThan(histories / 10);
}, 600_000);

it(`does so with the real packing in ${packedHistories} histories`, async () => {
  const { states } = await runHistories(packedHistories, packForReal);
  expect(states.size).toBeGreaterThan(0);
}, 600_000);

it('would notice a product that keeps what it must refuse', () => {
  const folder = begun();
  const farEnds = newFarEnds();
  const make: SystemOptions['make'] = (reached) => new Flow({ folder, producers: [ldi, anon], reached });
  const system = new System({ make, farEnds, pack: packFaked });
  try {
    const model = modelOfBeginning(farEnds);
    expect(() => compare(model, system)).not.toThrow();
    model.accept({ key: 'HIS|1', people: ['1'], item: 'lab-result' });
    expect(() => compare(model, system)).toThrow('deliveries');
  } finally {
    system.remove();
  }
});
