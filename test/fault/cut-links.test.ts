/**
 * The line to the producer breaks, again and again: by a reset, in the middle of a TLS record, while an answer travels.
 * The real agent ships over it to the real intake while messages arrive. Every record is in exactly one opened parcel.
 *
 * `KAKEHASHI_CUTS` says how often (default 12), `KAKEHASHI_SEED` repeats a run as far as processes can be repeated.
 */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../agent/base/clock.ts';
import { ConnectorError } from '../../agent/model/errors.ts';
import { Hospital, type OpenedRecord } from '../peers/hospital/hospital.ts';
import { type Hl7Message, hl7, person } from '../peers/hospital/messages.ts';
import { ChaosProxy, seeded } from '../peers/producer/proxies.ts';

const cuts = Number(process.env['KAKEHASHI_CUTS'] ?? 12);
const seed = Number(process.env['KAKEHASHI_SEED'] ?? systemClock.now() % 1_000_000);
const patients = ['0000000001', '0000000002', '0000000003'];

/** Some cuts meet the handshake, most the middle of a parcel: reports are larger than this and do not shrink. */
const everyBytes = 100_000;
const reportBytesMax = 400_000;
const messagesPerRun = 4;
/** What one cut costs with its back-off, several times over. */
const timeoutMs = 120_000 + cuts * 10_000;

describe(`${cuts} cuts of the line (KAKEHASHI_SEED=${seed})`, () => {
  const failures = new Set<string>();
  const sent: Hl7Message[] = [];
  let hospital: Hospital;
  let line: ChaosProxy;
  let opened: OpenedRecord[];

  beforeAll(async () => {
    const random = seeded(seed);
    hospital = await Hospital.create();
    await hospital.startProducer();
    line = await ChaosProxy.start({ targetPort: hospital.producer.ready.port ?? 0, cuts, everyBytes, random });
    await hospital.writeConfig(`https://127.0.0.1:${line.port}/`);
    await hospital.startAgent();
    await hospital.enrol(patients);
    await hospital.untilTrusted();
    while (line.cutsDone < cuts) {
      const messages = Array.from({ length: messagesPerRun }, (_, index) => message(sent.length + index, random));
      await hospital.send(messages);
      sent.push(...messages);
      await shipOnce(hospital, failures);
    }
    await drain(hospital, failures);
    opened = await hospital.opened();
  }, timeoutMs);
  afterAll(async () => {
    await line?.close();
    await hospital.close();
  });

  it('met uploads in the middle, and were told as what they are', () => {
    expect(line.cutsDone).toBe(cuts);
    expect(line.bytesUp).toBeGreaterThan((cuts * everyBytes) / 4);
    expect([...failures].filter((code) => !code.startsWith('NET_'))).toEqual([]);
  });

  it('lose nothing and bring nothing twice, byte for byte', () => {
    expect(opened.map(({ sha256 }) => sha256).toSorted()).toEqual(sent.map(({ sha256 }) => sha256).toSorted());
    expect(new Set(opened.map(({ recordId }) => recordId)).size).toBe(opened.length);
  });

  it('leave counters, ledger and folders as if the line had always held', async () => {
    const { deliveries, retractions } = await hospital.status();
    expect(deliveries).toMatchObject({ held: 0, ready: 0, packed: 0, stored: 0, rejected: 0, opened: sent.length });
    expect(retractions.open).toBe(0);
    expect(await hospital.ask('ledger.verify')).toMatchObject({ ok: true });
    expect(await hospital.stateFiles('spool')).toEqual([]);
    expect(await hospital.stateFiles('parcels')).toEqual([]);
    expect(await hospital.agent.stop()).toBe(0);
  });
});

function message(number: number, random: () => number): Hl7Message {
  const id = patients[number % patients.length] as string;
  const report = randomBytes(Math.floor(random() * reportBytesMax)).toString('base64');
  return hl7({ controlId: `L${number}`, person: person(id), report });
}

/** One run; what the line has broken is told by its code, and the next run goes on. */
async function shipOnce(hospital: Hospital, failures: Set<string>): Promise<void> {
  try {
    await hospital.ship();
  } catch (error) {
    if (!(error instanceof ConnectorError)) throw error;
    failures.add(error.code);
  }
}

async function drain(hospital: Hospital, failures: Set<string>): Promise<void> {
  for (;;) {
    await shipOnce(hospital, failures);
    const { deliveries } = await hospital.status();
    if (deliveries.held + deliveries.ready + deliveries.packed + deliveries.stored === 0) return;
  }
}
