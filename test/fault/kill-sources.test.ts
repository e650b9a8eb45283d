/**
 * kill -9 of the real agent, again and again, while all kinds of sources are under load and it ships. Whatever was
 * acknowledged, or lies in the storage, on the FHIR server or in the PACS, is in exactly one opened parcel in the end;
 * of a patient who said no meanwhile nothing that came after that.
 *
 * `KAKEHASHI_SOURCE_KILLS` says how often (default 50), `KAKEHASHI_SEED` repeats a run as far as processes can be
 * repeated.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../agent/base/clock.ts';
import type { ControlArgs } from '../../agent/base/control/frames.ts';
import { ConnectorError, isError } from '../../agent/model/errors.ts';
import type { PollTally } from '../../agent/model/ports.ts';
import { daysAgo, facility, Hospital, type OpenedRecord } from '../peers/hospital/hospital.ts';
import { type Given, origins, Systems } from '../peers/hospital/systems.ts';
import { seeded } from '../peers/producer/proxies.ts';
import { restart } from './restart.ts';

const kills = Number(process.env['KAKEHASHI_SOURCE_KILLS'] ?? 50);
const seed = Number(process.env['KAKEHASHI_SEED'] ?? systemClock.now() % 1_000_000);
const enrolled = ['0000000001', '0000000002', '0000000003', '0000000004'];
/** Notified long ago, and entered into the register half-way through. */
const late = '0000000005';
/** Say no after a third and two thirds of the kills. */
const stopping = ['0000000006', '0000000007'];
const categories = ['demographics', 'lab-result', 'image'];

/** From ready to the kill, at most: long enough for a poll of every source and the beginning of an upload. */
const livesMsMax = 1000;
/** One life in so many lasts until every source was polled and what it gave was shipped, however slow the machine is. */
const wholeEvery = 4;
const polled = ['ssmix', 'fhir', 'pacs'];
/** Between two orders to poll or to ship. */
const orderMs = 150;
/** It is not there, is killed meanwhile, or does by itself what a kill has interrupted: no order fails otherwise. */
const expectedFailures: ReadonlySet<string> = new Set(['CONTROL_UNREACHABLE', 'CONTROL_BROKEN', 'JOB_BUSY']);
/** What one kill costs on two busy cores, several times over. */
const timeoutMs = 120_000 + kills * 16_000;

describe(`${kills} kills under four kinds of sources (KAKEHASHI_SEED=${seed})`, () => {
  let hospital: Hospital;
  let systems: Systems;
  let orders: Orders;
  let opened: OpenedRecord[];
  let deletes: ReadonlySet<string>;
  let lives = 0;

  beforeAll(async () => {
    const random = seeded(seed);
    hospital = await Hospital.create();
    const patients = [...enrolled, late, ...stopping];
    systems = await Systems.start({ patients, random, ehrPort: () => hospital.port });
    await hospital.startProducer();
    await hospital.restartWith({ settings: { sources: systems.sources } });
    await hospital.enrol([...enrolled, ...stopping], categories);
    orders = new Orders(hospital);
    const running = [systems.run(), orders.run()];
    const acts: Promise<void>[] = [];
    for (let kill = 0; kill < kills; kill++) {
      acts.push(...registerActs(kill, orders, systems));
      const { deliveries } = await hospital.status();
      systems.goOn();
      if (kill % wholeEvery === 0) await orders.untilAllAreDone(deliveries.opened);
      await systemClock.sleep(random() * livesMsMax);
      await hospital.agent.kill();
      lives += await restart(hospital, random);
    }
    await Promise.all(acts);
    systems.end();
    orders.isOver = true;
    await Promise.all(running);
    await drain(hospital);
    opened = await hospital.opened();
    deletes = await openedDeletes(hospital);
  }, timeoutMs);
  afterAll(async () => {
    await hospital.close();
    await systems?.close();
  });

  it('had something of every source to lose each time', () => {
    const digests = new Set(opened.map(({ sha256 }) => sha256));
    for (const origin of origins) {
      const arrived = systems.given.filter((given) => given.origin === origin && digests.has(given.sha256));
      expect(arrived.length, origin).toBeGreaterThan(kills / 2);
    }
    expect(systems.repeatedMessages).toBeGreaterThan(0);
    expect(systems.repeatedImages).toBeGreaterThan(0);
    expect(new Set(opened.map(({ parcelId }) => parcelId)).size).toBeGreaterThan(kills / 20);
    expect(lives).toBeGreaterThan(kills);
    expect([...orders.failures].filter((code) => !expectedFailures.has(code))).toEqual([]);
  });

  it('lose nothing that was acknowledged or lies where the connector looks, and bring nothing twice', () => {
    // What was taken out has left its list, and with it what it was: only its id is compared.
    const inserts = opened.filter(({ recordId, retracted }) => retracted === undefined && !deletes.has(recordId));
    const wanted = systems.given.filter(({ patientId }) => !stopping.includes(patientId));
    const digests = new Set(inserts.map(({ sha256 }) => sha256));
    expect(wanted.filter(({ fate, sha256 }) => fate === 'kept' && !digests.has(sha256))).toEqual([]);
    expect(digests.size).toBe(inserts.length);
    expect(new Set(systems.given.map(({ sha256 }) => sha256)).size).toBe(systems.given.length);
    expect(new Set(opened.map(({ recordId }) => recordId)).size).toBe(opened.length);
  });

  it('bring nothing that nobody gave', () => {
    const known = new Set(systems.given.map(({ sha256 }) => sha256));
    expect(opened.filter(({ sha256 }) => !known.has(sha256))).toEqual([]);
  });

  it('tell of the end of every order that was handed over and then deleted', () => {
    const digestsOf = (isDelete: boolean) =>
      new Set(opened.flatMap(({ recordId, sha256 }) => (deletes.has(recordId) === isDelete ? [sha256] : [])));
    const [inserted, deleted] = [digestsOf(false), digestsOf(true)];
    expect(deleted.size).toBeGreaterThan(0);
    const ended = systems.given.filter(({ fate, patientId }) => fate === 'deleted' && !stopping.includes(patientId));
    expect(ended.filter(({ sha256 }) => inserted.has(sha256) && !deleted.has(sha256))).toEqual([]);
    const isEnded = (sha256: string) => ended.some((given) => given.sha256 === sha256);
    expect([...deleted].filter((sha256) => !isEnded(sha256))).toEqual([]);
  });

  it('let nothing of a patient leave after the stop, and have taken out what had left before', () => {
    const theirs = new Map(
      systems.given.filter(({ patientId }) => stopping.includes(patientId)).map((given) => [given.sha256, given]),
    );
    const left = opened.filter(({ sha256 }) => theirs.has(sha256));
    const isAfter = (given: Given | undefined) => given?.isAfterStop === true;
    expect([...theirs.values()].filter(isAfter).length).toBeGreaterThan(kills / 4);
    expect(left.length).toBeGreaterThan(0);
    expect(left.filter(({ sha256 }) => isAfter(theirs.get(sha256)))).toEqual([]);
    expect(left.filter(({ retracted }) => retracted === undefined)).toEqual([]);
    expect(opened.filter(({ retracted, sha256 }) => retracted !== undefined && !theirs.has(sha256))).toEqual([]);
  });

  it('leave counters, ledger, and record of provision that agree with what arrived', async () => {
    const { deliveries, quarantined, gaps } = await hospital.status();
    expect(deliveries).toMatchObject({ held: 0, ready: 0, packed: 0, stored: 0, expired: 0, rejected: 0 });
    expect({ opened: deliveries.opened, quarantined, gaps }).toEqual({
      opened: opened.length,
      quarantined: 0,
      gaps: 0,
    });
    expect(await hospital.ask('ledger.verify')).toMatchObject({ ok: true });
    expect(await hospital.ask('buffer.verify')).toMatchObject({ records: 0, damaged: [] });
    const file = join(hospital.folder, 'provision.csv');
    expect(await hospital.ask('ledger.export', { file, what: 'provision' })).toMatchObject({ rows: opened.length });
  });

  it('leave no file behind that nobody knows', async () => {
    expect(await hospital.stateFiles('spool')).toEqual([]);
    expect(await hospital.stateFiles('parcels')).toEqual([]);
    expect(await hospital.agent.stop()).toBe(0);
  });
});

/** What the register learns at this kill; the kill may come before it has. */
function registerActs(kill: number, orders: Orders, systems: Systems): Promise<void>[] {
  const stop = async (patient: string) => {
    await orders.insist('register.stop', { patient });
    systems.stopped.add(patient);
  };
  const isTurn = (part: number) => kill === Math.floor(kills * part);
  return [
    ...stopping.flatMap((patient, index) => (isTurn((index + 1) / 3) ? [stop(patient)] : [])),
    ...(isTurn(1 / 2) ? [orders.insist('register.notify', { patient: late, notice: '2025-01', on: daysAgo(90) })] : []),
  ];
}

/** Somebody who orders to poll and to ship all the time. */
class Orders {
  readonly #hospital: Hospital;
  /** Codes of what was not done. */
  readonly failures = new Set<string>();
  readonly #done = new Set<string>();
  isOver = false;

  constructor(hospital: Hospital) {
    this.#hospital = hospital;
  }

  async run(): Promise<void> {
    await Promise.all([...polled.map((name) => this.#repeat('pull', { name })), this.#repeat('ship', {})]);
  }

  /** Every source was polled once from now on, and more was opened: under load a run of shipping has no end. */
  async untilAllAreDone(openedBefore: number): Promise<void> {
    this.#done.clear();
    while (!polled.every((name) => this.#done.has(wordOf('pull', { name })))) await systemClock.sleep(orderMs);
    await this.#hospital.until(({ deliveries }) => deliveries.opened > openedBefore);
  }

  /** Until it was done, whoever was killed meanwhile. */
  async insist(verb: string, args: ControlArgs): Promise<void> {
    while (!(await this.#succeeds(verb, args))) await systemClock.sleep(orderMs);
  }

  async #repeat(verb: string, args: ControlArgs): Promise<void> {
    while (!this.isOver) {
      await this.#succeeds(verb, args);
      await systemClock.sleep(orderMs);
    }
  }

  async #succeeds(verb: string, args: ControlArgs): Promise<boolean> {
    try {
      await this.#hospital.ask(verb, args);
      this.#done.add(wordOf(verb, args));
      return true;
    } catch (error) {
      if (!(error instanceof ConnectorError)) throw error;
      this.failures.add(error.code);
      return false;
    }
  }
}

function wordOf(verb: string, args: ControlArgs): string {
  return `${verb} ${JSON.stringify(args)}`;
}

/** Polls and ships until nothing new is found, nothing is left to ship, and the producer has opened everything. */
async function drain(hospital: Hospital): Promise<void> {
  await hospital.untilTrusted();
  for (let quiet = 0; quiet < 2; ) {
    const tallies = Object.values(await pull(hospital));
    await hospital.ship();
    const { deliveries, retractions } = await hospital.status();
    const open = deliveries.held + deliveries.ready + deliveries.packed + deliveries.stored + retractions.open;
    const isQuiet = open === 0 && tallies.every(({ offered, complete }) => offered === 0 && complete);
    quiet = isQuiet ? quiet + 1 : 0;
  }
  // A retraction is acknowledged before it is applied; then the index says so. One may have been sent twice.
  const retractions = await readdir(join(hospital.data, 'retractions', facility));
  const applied = () => hospital.producer.said.stderr.split('intake.retraction-applied').length - 1;
  while (applied() < retractions.length) await systemClock.sleep(orderMs);
}

async function pull(hospital: Hospital): Promise<Record<string, PollTally>> {
  for (;;) {
    try {
      return await hospital.ask<Record<string, PollTally>>('pull');
    } catch (error) {
      if (!isError(error, 'JOB_BUSY')) throw error;
      await systemClock.sleep(orderMs);
    }
  }
}

/** Records the producer has opened that take another back. */
async function openedDeletes(hospital: Hospital): Promise<Set<string>> {
  const found = new Set<string>();
  const parcels = new Set((await hospital.opened()).map(({ parcelId }) => parcelId));
  for (const parcel of parcels) {
    const lines = await readFile(join(hospital.data, 'opened', facility, parcel, 'records.ndjson'), 'utf8');
    for (const line of lines.split('\n').filter((text) => text !== '')) {
      const { recordId, op } = JSON.parse(line) as { recordId: string; op: string };
      if (op === 'DEL') found.add(recordId);
    }
  }
  return found;
}
