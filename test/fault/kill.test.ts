/**
 * kill -9 of the real agent, again and again, while senders send and it ships. Whatever was acknowledged is in exactly
 * one opened parcel in the end.
 *
 * `KAKEHASHI_KILLS` says how often (default 100), `KAKEHASHI_SEED` repeats a run as far as processes can be repeated.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deliveryStates } from '../../agent/buffer/deliveries.ts';
import { systemClock } from '../../agent/base/clock.ts';
import { ConnectorError } from '../../agent/model/errors.ts';
import { Hospital, type OpenedRecord } from '../peers/hospital/hospital.ts';
import { type Hl7Message, hl7, person } from '../peers/hospital/messages.ts';
import { StubbornSender } from '../peers/hospital/stubborn-sender.ts';
import { seeded } from '../peers/producer/proxies.ts';
import { restart } from './restart.ts';

const kills = Number(process.env['KAKEHASHI_KILLS'] ?? 100);
const seed = Number(process.env['KAKEHASHI_SEED'] ?? systemClock.now() % 1_000_000);
const patients = ['0000000001', '0000000002', '0000000003', '0000000004', '0000000005'];

const senders = 4;
/** One in so many is spooled as a file of its own. */
const spooledEvery = 15;
/** From ready to the kill, at most: long enough to greet the producer, pack and upload. */
const livesMsMax = 450;
/** What one kill costs on two busy cores, several times over. */
const timeoutMs = 60_000 + kills * 8_000;

describe(`${kills} kills (KAKEHASHI_SEED=${seed})`, () => {
  let hospital: Hospital;
  let acknowledged: Hl7Message[];
  let opened: OpenedRecord[];
  let repeated = 0;
  let lives = 0;

  beforeAll(async () => {
    const random = seeded(seed);
    hospital = await Hospital.open(patients);
    const load = new Load(hospital, random);
    const running = load.run();
    for (let kill = 0; kill < kills; kill++) {
      await systemClock.sleep(random() * livesMsMax);
      await hospital.agent.kill();
      lives += await restart(hospital, random);
    }
    ({ acknowledged, repeated } = await load.end());
    await running;
    await drain(hospital);
    opened = await hospital.opened();
  }, timeoutMs);
  afterAll(() => hospital.close());

  it('had something to lose each time', () => {
    expect(acknowledged.length).toBeGreaterThan(kills * 5);
    expect(repeated).toBeGreaterThan(0);
    // How many depends on the machine; that parcels were made and sent between the kills does not.
    expect(new Set(opened.map(({ parcelId }) => parcelId)).size).toBeGreaterThan(1);
    expect(lives).toBeGreaterThan(kills);
  });

  it('lose nothing that was acknowledged, and bring nothing twice', () => {
    const sent = acknowledged.map(({ sha256 }) => sha256).toSorted();
    expect(opened.map(({ sha256 }) => sha256).toSorted()).toEqual(sent);
    expect(new Set(opened.map(({ recordId }) => recordId)).size).toBe(opened.length);
    expect(new Set(sent).size).toBe(sent.length);
  });

  it('leave counters, ledger, and record of provision that agree with what arrived', async () => {
    const { deliveries, quarantined, gaps } = await hospital.status();
    expect({ ...deliveries, quarantined, gaps }).toEqual({
      ...Object.fromEntries(deliveryStates.map((state) => [state, 0])),
      opened: acknowledged.length,
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

/** Senders that do not give up, and somebody who orders to ship all the time. */
class Load {
  readonly #hospital: Hospital;
  readonly #senders: StubbornSender[];
  #isOver = false;
  #sent = 0;

  constructor(hospital: Hospital, random: () => number) {
    this.#hospital = hospital;
    this.#senders = Array.from({ length: senders }, (_, index) => {
      const port = () => hospital.port;
      return new StubbornSender({ port, next: () => this.#next(index, random), inFlight: 4, pauseMs: 25 });
    });
  }

  async run(): Promise<void> {
    await Promise.all([this.#ship(), ...this.#senders.map((sender) => sender.run())]);
  }

  /** No new messages; resolves when the last is acknowledged. */
  async end(): Promise<{ acknowledged: Hl7Message[]; repeated: number }> {
    this.#isOver = true;
    while (this.#senders.reduce((sum, { acknowledged }) => sum + acknowledged.length, 0) < this.#sent) {
      await systemClock.sleep(20);
    }
    const repeated = this.#senders.reduce((sum, sender) => sum + sender.repeated, 0);
    return { acknowledged: this.#senders.flatMap(({ acknowledged }) => acknowledged), repeated };
  }

  #next(sender: number, random: () => number): Hl7Message | undefined {
    if (this.#isOver) return undefined;
    this.#sent += 1;
    const id = patients[Math.floor(random() * patients.length)] as string;
    const reportChars = random() < 1 / spooledEvery ? 300_000 : 0;
    return hl7({ controlId: `K${sender}-${this.#sent}`, person: person(id), reportChars });
  }

  async #ship(): Promise<void> {
    while (!this.#isOver) {
      try {
        await this.#hospital.ship();
      } catch (error) {
        // It was killed.
        if (!(error instanceof ConnectorError)) throw error;
      }
      await systemClock.sleep(30);
    }
  }
}

/** Ships until nothing is left to ship and the producer has opened everything. */
async function drain(hospital: Hospital): Promise<void> {
  await hospital.untilTrusted();
  for (;;) {
    await hospital.ship();
    const { deliveries } = await hospital.status();
    if (deliveries.held + deliveries.ready + deliveries.packed + deliveries.stored === 0) return;
  }
}
