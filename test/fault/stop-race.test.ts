/**
 * A patient says stop while their record is on the line. When the command has returned, no byte leaves any more; the
 * records of everybody else arrive exactly once; those of the patient never, or they are retracted if the last byte
 * had arrived.
 *
 * `KAKEHASHI_STOP_ROUNDS` says how often (default 40), `KAKEHASHI_SEED` repeats a run as far as processes can be
 * repeated.
 */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../agent/base/clock.ts';
import { facility, Hospital, type OpenedRecord } from '../peers/hospital/hospital.ts';
import { type Hl7Message, hl7, person } from '../peers/hospital/messages.ts';
import { type Stall, StallingProducer } from '../peers/hospital/stalling-producer.ts';
import { seeded } from '../peers/producer/proxies.ts';

const rounds = Number(process.env['KAKEHASHI_STOP_ROUNDS'] ?? 40);
const seed = Number(process.env['KAKEHASHI_SEED'] ?? systemClock.now() % 1_000_000);
/** What one round costs on two busy cores, several times over. */
const timeoutMs = 60_000 + rounds * 5_000;
const places = ['announced', 'middle', 'last-byte', 'late-byte', 'answer'] as const satisfies readonly Stall['at'][];
const others = ['0000000001', '0000000002', '0000000003'];
const stopping = Array.from({ length: rounds }, (_, round) => String(9_000_000_001 + round));
/** Of each record: small, or too much for one slice of the rate where the upload is to be met in the middle. */
const reportBytes = (at: Stall['at']) => (at === 'middle' ? 90_000 : 10_000);

interface Round {
  readonly at: Stall['at'];
  readonly stopped: readonly Hl7Message[];
  readonly others: readonly Hl7Message[];
  /** The agent's sockets to the producer that carried the upload, when the command had returned. */
  readonly openSockets: readonly string[];
  /** The last byte of the upload had left before the stop was known. */
  readonly isWhole: boolean;
  /** Body bytes that arrived after that, beyond what the kernel already had. */
  readonly lateBytes: number;
}

describe(`a stop during an upload (KAKEHASHI_SEED=${seed})`, () => {
  let hospital: Hospital;
  let producer: StallingProducer;
  const done: Round[] = [];
  let opened: OpenedRecord[];

  beforeAll(async () => {
    const random = seeded(seed);
    // Slow enough to be met in the middle.
    hospital = await Hospital.create({ producer: { bandwidth: '512K' } });
    await hospital.startProducer();
    producer = await StallingProducer.start({
      producerKeys: hospital.producerKeys,
      clientFolder: join(hospital.folder, 'hospital', 'ldi'),
      targetPort: hospital.producer.ready.port ?? 0,
    });
    await hospital.writeConfig(producer.url);
    await hospital.startAgent();
    await hospital.enrol([...others, ...stopping]);
    await hospital.untilTrusted();
    for (let number = 0; number < rounds; number++) done.push(await playRound(hospital, producer, number, random));
    await drain(hospital);
    opened = await hospital.opened();
  }, timeoutMs);
  afterAll(async () => {
    await producer?.close();
    await hospital.close();
  });

  it('sends no byte once the command has returned: the connection is gone', () => {
    // Most of those met in the middle had more to send.
    const cut = done.filter(({ at, isWhole }) => at === 'middle' && !isWhole);
    expect(cut.length).toBeGreaterThan(rounds / places.length / 2);
    expect(done.filter(({ openSockets, lateBytes }) => openSockets.length > 0 || lateBytes > 0)).toEqual([]);
  });

  it("brings everybody else's records exactly once", () => {
    const theirs = done.flatMap((round) => round.others.map(({ sha256 }) => sha256)).toSorted();
    const kept = opened.filter(({ retracted }) => retracted === undefined).map(({ sha256 }) => sha256);
    expect(kept.toSorted()).toEqual(theirs);
    expect(new Set(opened.map(({ recordId }) => recordId)).size).toBe(opened.length);
  });

  it("never opens the patient's records unless the last byte had arrived, and then has them taken out again", async () => {
    for (const { at, stopped, isWhole } of done) {
      for (const { sha256 } of stopped) {
        const found = opened.filter((record) => record.sha256 === sha256);
        if (at === 'answer') expect(found, at).toEqual([expect.objectContaining({ retracted: expect.any(String) })]);
        else if (at === 'late-byte' || (at === 'middle' && isWhole))
          expect(
            found.filter(({ retracted }) => retracted === undefined),
            at,
          ).toEqual([]);
        else expect(found, at).toEqual([]);
        for (const { recordId, parcelId } of found)
          expect(existsSync(join(hospital.data, 'opened', facility, parcelId, 'records', recordId))).toBe(false);
      }
    }
  });

  it('has told the producer of every patient it had, and destroyed what it kept of all of them', async () => {
    const { retractions, deliveries } = await hospital.status();
    expect(retractions.open).toBe(0);
    expect(deliveries).toMatchObject({ held: 0, ready: 0, packed: 0, stored: 0, rejected: 0 });
    expect(await hospital.ask('buffer.verify')).toMatchObject({ records: 0 });
    expect(await hospital.ask('ledger.verify')).toMatchObject({ ok: true });
    expect(await hospital.stateFiles('spool')).toEqual([]);
    expect(await hospital.stateFiles('parcels')).toEqual([]);
  });

  it('writes each act into the ledger: the stop, what had left of a voided parcel, and the retraction', async () => {
    const file = join(hospital.folder, 'ledger.csv');
    await hospital.ask('ledger.export', { file });
    const kinds = (await readFile(file, 'utf8')).split('\r\n').map((line) => line.split(',')[2]);
    const count = (kind: string) => kinds.filter((found) => found === kind).length;
    expect(count('stop')).toBe(rounds);
    expect(count('retraction')).toBeGreaterThanOrEqual(rounds / places.length);
    expect(count('retraction-acknowledged')).toBe(count('retraction'));
    expect(count('void')).toBeGreaterThanOrEqual((rounds / places.length) * 2);
  });
});

async function playRound(
  hospital: Hospital,
  producer: StallingProducer,
  number: number,
  random: () => number,
): Promise<Round> {
  const at = places[number % places.length] as Stall['at'];
  const patient = stopping[number] as string;
  const message = (id: string, index: number) => {
    const report = randomBytes(Math.floor((0.5 + random() / 2) * reportBytes(at))).toString('base64');
    return hl7({ controlId: `S${number}-${index}`, person: person(id), report });
  };
  const messages = [...others, patient, patient].map(message);
  await hospital.send(messages);
  const bytes = messages.reduce((sum, message) => sum + message.bytes.length, 0);
  // Base64 of random bytes shrinks to three quarters; this is met well before the end.
  const reached = producer.stallOnce({ at, atByte: Math.floor(random() * bytes * 0.4) });
  const shipping = hospital.ship();
  await reached;
  await hospital.ask('register.stop', { patient });
  const openSockets = await connections(producer.senderPort, producer.port);
  // What the kernel already had is read in these turns; nothing comes after it.
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  const seenBytes = producer.stalledBytes;
  const isWhole = seenBytes === producer.stalledLength;
  await shipping;
  const lateBytes = producer.stalledBytes - seenBytes;
  return { at, stopped: messages.slice(-2), others: messages.slice(0, -2), openSockets, isWhole, lateBytes };
}

/** TCP states in /proc/net/tcp in which a byte can still be sent or is still on its way. */
const liveStates = new Set(['01', '04', '05', '08', '09', '0B']);

/** Sockets of this machine from one port to another through which bytes may still go. */
async function connections(from: number, to: number): Promise<string[]> {
  const hex = (port: number) => port.toString(16).toUpperCase().padStart(4, '0');
  const lines = (await readFile('/proc/net/tcp', 'latin1')).split('\n').slice(1);
  return lines.filter((line) => {
    const [, local = '', remote = '', state = ''] = line.trim().split(/\s+/);
    return local.endsWith(`:${hex(from)}`) && remote.endsWith(`:${hex(to)}`) && liveStates.has(state);
  });
}

async function drain(hospital: Hospital): Promise<void> {
  for (;;) {
    await hospital.ship();
    const { deliveries, retractions } = await hospital.status();
    if (deliveries.held + deliveries.ready + deliveries.packed + deliveries.stored + retractions.open === 0) break;
  }
  // A retraction is acknowledged before it is applied; then the index says so.
  const { stderr } = hospital.producer.said;
  const sent = stderr.split('intake.retraction-stored').length;
  while (hospital.producer.said.stderr.split('intake.retraction-applied').length < sent) await systemClock.sleep(50);
}
