/**
 * Random histories of the whole flow against a plain model of what it promises: thousands of them, each from a fresh
 * state on a real database. A failure prints its seed and the shortest history that shows it;
 * `KAKEHASHI_SEED=… KAKEHASHI_HISTORIES=…` run it again, or many more.
 */
import { copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { addDays } from '../../agent/base/clock.ts';
import { deliveryStates } from '../../agent/buffer/deliveries.ts';
import { addFiling, addNoticeVersion, notify } from '../../agent/flow/register.ts';
import { crashPoints } from '../../agent/flow/store.ts';
import { anon, Flow, ldi, ManualTime, nameOf, newFolder, today } from '../flow/harness.ts';
import { commands, versionOf } from './commands.ts';
import { basisOf, Model, producers, textItems } from './model.ts';
import { compare, System } from './system.ts';

const histories = Number(process.env['KAKEHASHI_HISTORIES'] ?? 2_000);
const seed = process.env['KAKEHASHI_SEED'];
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

function modelOfBeginning(): Model {
  const model = new Model();
  for (const to of producers) model.file(to, all, filedFrom);
  for (const [patient, to] of told) model.tell(patient, basisOf[to], 'all', toldOn);
  return model;
}

it(`behaves like the model in ${histories} histories, whenever the plug is pulled`, async () => {
  const template = newFolder('template');
  beginning(template);
  const states = new Set<string>();
  const crashes = new Set<string>();
  const history = fc.commands(commands, { maxCommands: stepsMax, size: 'max' });
  try {
    await fc.assert(
      fc.asyncProperty(history, async (sequence) => {
        const folder = newFolder('history');
        for (const name of ['connector.sqlite', 'site.key']) copyFileSync(join(template, name), join(folder, name));
        const time = new ManualTime();
        const system = new System((reached) => new Flow({ folder, time, producers: [ldi, anon], reached }));
        try {
          await fc.asyncModelRun(() => ({ model: modelOfBeginning(), real: system }), sequence);
          for (const { state } of system.flow.store.deliveries.tally()) states.add(state);
          for (const point of system.crashes) crashes.add(point);
        } finally {
          system.flow.remove();
        }
      }),
      { numRuns: histories, ...(seed !== undefined && { seed: Number(seed) }) },
    );
  } finally {
    rmSync(template, { recursive: true, force: true });
  }
  // The histories went somewhere: every state of a delivery was reached, and every point passed with the plug pulled.
  if (histories < coveringHistories) return;
  expect([...states].toSorted()).toEqual(deliveryStates.toSorted());
  expect([...crashes].toSorted()).toEqual(crashPoints.toSorted());
}, 600_000);

it('would notice a product that keeps what it must refuse', () => {
  const folder = newFolder('history');
  beginning(folder);
  const system = new System((reached) => new Flow({ folder, producers: [ldi, anon], reached }));
  try {
    const model = modelOfBeginning();
    expect(() => compare(model, system)).not.toThrow();
    model.accept({ key: 'HIS|1', people: ['1'], item: 'lab-result' });
    expect(() => compare(model, system)).toThrow('deliveries');
  } finally {
    system.flow.remove();
  }
});
