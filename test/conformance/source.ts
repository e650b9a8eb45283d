/**
 * What every source promises, whatever its peer is: the suite of the joints `Source` and `Intake` (`model/ports.ts`).
 * A source passes it by saying how its peer's world is built; a source that both listens and polls passes it twice.
 *
 * ```ts
 * describeSource('ssmix2', async () => ({ source, intake, events, offer, breakPeer, secrets, close }));
 * ```
 * The invariant: every record a peer offers is handed to the intake with its exact bytes, and is neither acknowledged
 * nor forgotten before the intake has it.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { ConnectorError } from '../../agent/model/errors.ts';
import type { ConnectorEvent } from '../../agent/model/events.ts';
import type { PollTally, Source } from '../../agent/model/ports.ts';
import { bufferFull, type TakenRecord, type TestIntake } from './intake.ts';

export interface PeerWorld {
  /** Idle. The suite calls `listen`, or `poll`, by `mode`. */
  readonly source: Source;
  readonly mode: 'listen' | 'poll';
  readonly intake: TestIntake;
  /** Everything the source has reported. */
  readonly events: readonly ConnectorEvent[];
  /** Patient numbers, names, paths and ids of this world: nothing of it may be in an event or an error. */
  readonly secrets: readonly string[];
  /**
   * Brings `count` new records about, of patients that are wanted. A polled peer has them, ready to be taken, when it
   * resolves. A listener's peer has sent them on `port` and waited for its answers; `acknowledged` counts those that
   * say "taken", and a record without one is sent again by the next call of `repeat`.
   */
  offer(count: number, port: number | undefined): Promise<OfferedByPeer>;
  /** A listener's peer sends again what it has no acknowledgement for. A polled peer does nothing. */
  repeat?(port: number): Promise<OfferedByPeer>;
  /** Takes the peer away: a polled one is gone, a listener's own port no longer answers. */
  breakPeer(): Promise<void>;
  /** Removes what the world is made of. The suite has stopped the source before. */
  close(): Promise<void>;
}

export interface OfferedByPeer {
  /** The exact bytes of each record as the hospital's system holds it. */
  readonly bytes: readonly Buffer[];
  readonly acknowledged: number;
}

const noProgress = () => undefined;

/** Enough that a source works in more than one step, and few for a peer that is a real program. */
const recordCount = 12;

export function describeSource(name: string, build: () => Promise<PeerWorld>): void {
  describe(`${name}, as a source`, () => {
    const worlds: PeerWorld[] = [];

    afterEach(async () => {
      for (const world of worlds.splice(0)) {
        world.intake.gate = undefined;
        await world.source.stop();
        await world.close();
      }
    });

    async function started(): Promise<Running> {
      const world = await build();
      worlds.push(world);
      const port = world.mode === 'listen' ? (await world.source.listen?.())?.port : undefined;
      return { ...world, port };
    }

    it('hands over every record, byte for byte, once', async () => {
      const world = await started();
      const offered = await take(world, recordCount);
      expect(digests(world.intake.taken.map(({ bytes }) => bytes))).toEqual(digests(offered));
    });

    it('says of every record what routing needs', async () => {
      const world = await started();
      await take(world, recordCount);
      expect(world.intake.taken.flatMap(complaints)).toEqual([]);
    });

    it('offers nothing again that it has handed over', async () => {
      const world = await started();
      await take(world, 2);
      const before = world.intake.taken.length;
      const offered = await take(world, 3);
      expect(world.intake.taken.length - before).toBe(offered.length);
    });

    it('neither acknowledges nor forgets what the intake refused, and hands it over when asked again', async () => {
      const world = await started();
      world.intake.failure = bufferFull;
      const memory = world.intake.memory();
      const offered = await world.offer(recordCount, world.port);
      if (world.mode === 'listen') expect(offered.acknowledged).toBe(0);
      else await expect(poll(world)).rejects.toMatchObject({ code: 'BUFFER_FULL' });
      expect(world.intake.taken).toEqual([]);
      expect(world.intake.memory()).toEqual(memory);

      world.intake.failure = undefined;
      if (world.port === undefined) await pollToEnd(world);
      else expect((await world.repeat?.(world.port))?.acknowledged).toBe(recordCount);
      expect(digests(world.intake.taken.map(({ bytes }) => bytes))).toEqual(digests(offered.bytes));
    });

    it('reports nothing of a patient', async () => {
      const world = await started();
      await take(world, recordCount);
      world.intake.failure = bufferFull;
      const error = await take(world, 1).catch((thrown: unknown) => thrown);
      const told = JSON.stringify([
        world.events,
        error instanceof ConnectorError ? [error.message, error.details] : [],
      ]);
      expect(world.secrets.length).toBeGreaterThan(0);
      expect(world.secrets.filter((secret) => told.includes(secret))).toEqual([]);
    });

    it('finds its peer well, and says by a code when it is not', async () => {
      const world = await started();
      const well = await world.source.probe();
      expect(well).toMatchObject({ ok: true });
      await world.breakPeer();
      const ill = await world.source.probe();
      expect(ill.ok ? undefined : ill.error).toBeInstanceOf(ConnectorError);
    });

    it('offers nothing after it has stopped, which is harmless twice', async () => {
      const world = await started();
      await take(world, 2);
      await world.source.stop();
      await world.source.stop();
      const before = world.intake.offers.length;
      if (world.port === undefined) await poll(world).catch(expectOurs);
      else await world.offer(1, world.port).catch(expectUnanswered);
      expect(world.intake.offers.length).toBe(before);
    });

    it('tells how a run ended, and loses nothing when it is broken off', async () => {
      const world = await started();
      if (world.mode === 'listen') return expectStopAnswersFirst(world);
      const offered = await world.offer(recordCount, undefined);
      const aborting = new AbortController();
      const gate = Promise.withResolvers<void>();
      world.intake.gate = gate.promise;
      const run = world.source.poll?.(aborting.signal, noProgress);
      await world.intake.whenOffered(1);
      aborting.abort();
      world.intake.gate = undefined;
      gate.resolve();
      await run?.catch(expectOurs);
      const tally = await pollToEnd(world);
      expect(tally.complete).toBe(true);
      expect(digests(world.intake.taken.map(({ bytes }) => bytes))).toEqual(digests(offered.bytes));
    });
  });
}

interface Running extends PeerWorld {
  readonly port: number | undefined;
}

/** Brings records about and has them taken; resolves with their bytes. */
async function take(world: Running, count: number): Promise<readonly Buffer[]> {
  const offered = await world.offer(count, world.port);
  if (world.mode === 'poll') await pollToEnd(world);
  return offered.bytes;
}

async function poll(world: Running): Promise<PollTally> {
  const tally = await world.source.poll?.(new AbortController().signal, noProgress);
  if (!tally) throw new TypeError('the source does not poll');
  return tally;
}

/** Runs until a run is complete; a source that never is does not hang the suite. */
async function pollToEnd(world: Running): Promise<PollTally> {
  const runsMax = 50;
  for (let run = 0; run < runsMax; run++) {
    const tally = await poll(world);
    if (tally.complete) return tally;
  }
  throw new Error(`not complete after ${runsMax} runs`);
}

/** A listener that is told to stop finishes what it is being given: it is answered, or it was not taken. */
async function expectStopAnswersFirst(world: Running): Promise<void> {
  const gate = Promise.withResolvers<void>();
  world.intake.gate = gate.promise;
  const sending = world.offer(1, world.port);
  await world.intake.whenOffered(1);
  const stopping = world.source.stop();
  gate.resolve();
  await stopping;
  const { acknowledged } = await sending;
  expect(acknowledged).toBeLessThanOrEqual(world.intake.taken.length);
  expect(world.intake.taken.length).toBe(1);
}

function complaints({ facts }: TakenRecord): string[] {
  const wrong = [
    facts.nativeKey === '' && 'has no native key',
    facts.route === '' && 'does not say how it came',
    facts.mediaType === '' && 'has no media type',
    facts.patients.length === 0 && !facts.quarantine && 'names no patient and is not set aside',
    facts.patients.some(({ normalized }) => normalized === '') && 'has a patient without a number',
    facts.patients.length > 1 && !facts.merge && !facts.quarantine && 'names two patients that it does not merge',
    facts.eventAt !== undefined && Number.isNaN(Date.parse(facts.eventAt)) && 'has a time that is none',
  ];
  return wrong.filter((each) => each !== false);
}

/** Sorted, since no source promises an order among records of different keys. */
function digests(payloads: readonly Buffer[]): string[] {
  return payloads.map((bytes) => bytes.toString('latin1')).toSorted();
}

function expectOurs(error: unknown): void {
  expect(error).toBeInstanceOf(ConnectorError);
}

/** A peer that finds the port closed may say so in its own way. */
function expectUnanswered(error: unknown): void {
  expect(error).toBeInstanceOf(Error);
}
