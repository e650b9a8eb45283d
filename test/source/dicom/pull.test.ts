import { afterEach, describe, expect, it } from 'vitest';
import type { PollOccasion } from '../../../agent/model/ports.ts';
import type { PatientName } from '../../../agent/model/record.ts';
import { hourMs, minuteMs } from '../../base/fake-clock.ts';
import { bufferFull } from '../../conformance/intake.ts';
import { Archive, type Held } from '../../peers/dicom/archive.ts';
import { instance, instanceUid, seriesUid, studyUid } from '../../peers/dicom/dataset.ts';
import { ScriptedPacs } from '../../peers/dicom/scripted-pacs.ts';
import { makeSource, startSource, stopSources, type TestSource } from './host.ts';

const closing: { close(): Promise<void> }[] = [];

afterEach(async () => {
  await stopSources();
  for (const each of closing.splice(0)) await each.close();
});

interface HeldChoice {
  readonly study: number;
  readonly series?: number;
  readonly number?: number;
  readonly patientId?: string;
  readonly studyDate?: string;
  readonly studyTime?: string | undefined;
}

function held(choice: HeldChoice): Held {
  const { study, series = 1, number = 1, patientId = '1', studyDate = '20261123' } = choice;
  const made = instance({ study, series, number, patientId, studyDate, size: 4, name: 'ascii' });
  const time = 'studyTime' in choice ? choice.studyTime : '101500';
  return {
    instance: made,
    patientId,
    studyUid: studyUid(study),
    seriesUid: seriesUid(study, series),
    studyDate,
    ...(time !== undefined && { studyTime: time }),
  };
}

const series = (study: number, count: number, more: Partial<HeldChoice> = {}) =>
  Array.from({ length: count }, (_, index) => held({ study, number: index + 1, ...more }));

interface World extends TestSource {
  readonly archive: Archive;
  readonly poll: () => ReturnType<NonNullable<TestSource['source']['poll']>>;
}

async function world(instances: readonly Held[], options: Record<string, unknown> = {}): Promise<World> {
  const archive = await Archive.start(instances);
  closing.push({ close: () => archive.pacs.close() });
  const query = { host: '127.0.0.1', port: archive.pacs.port, aeTitle: 'ARCHIVE' };
  const source = await startSource({ query, ...options });
  archive.destinationPort = source.port;
  const poll = () => pollOf(source);
  return { ...source, archive, poll };
}

function pollOf(
  { source }: Pick<TestSource, 'source'>,
  signal = new AbortController().signal,
  asked: PollOccasion = 'by-schedule',
) {
  if (!source.poll) throw new TypeError('it does not poll');
  return source.poll(signal, () => undefined, asked);
}

const taken = ({ intake }: Pick<World, 'intake'>) => intake.taken.map(({ facts }) => facts.nativeKey).toSorted();
const remembered = ({ intake }: Pick<World, 'intake'>) =>
  Object.keys(intake.memory())
    .map((name) => name.split('\0', 1).join(''))
    .toSorted();

describe('a study the gate wants', () => {
  it('is moved series by series, byte for byte, and counted', async () => {
    const both = [...series(1, 3), ...series(1, 2, { series: 2 })];
    const w = await world(both);
    const tally = await w.poll();
    expect(tally).toMatchObject({ offered: 5, outcomes: { kept: 5 }, complete: true });
    expect(taken(w)).toEqual(both.map(({ instance }) => instance.sopInstanceUid).toSorted());
    expect(w.intake.taken.every(({ facts }) => facts.route === 'c-move')).toBe(true);
    expect(w.archive.askedCount('move', 'SERIES')).toBe(2);
    expect(w.archive.askedCount('move', 'IMAGE')).toBe(0);
  });

  it('is captured only by an equal list after the time it must be stable', async () => {
    const w = await world(series(1, 2));
    await w.poll();
    expect(remembered(w)).toEqual(['study']);
    w.clock.freeze(29 * minuteMs);
    await w.poll();
    expect(remembered(w)).toEqual(['study']);
    w.clock.freeze(minuteMs);
    await w.poll();
    expect(remembered(w)).toEqual(['captured']);
    expect(w.intake.taken).toHaveLength(2);
  });

  it('begins to settle anew when its list has changed, and is open again when it changes later', async () => {
    const w = await world(series(1, 2));
    await w.poll();
    w.clock.freeze(hourMs);
    w.archive.held.push(held({ study: 1, number: 3 }));
    await w.poll();
    expect(remembered(w)).toEqual(['study']);
    w.clock.freeze(hourMs);
    await w.poll();
    expect(remembered(w)).toEqual(['captured']);
    w.archive.held.push(held({ study: 1, number: 4 }));
    await w.poll();
    expect(remembered(w)).toEqual(['study']);
    expect(w.intake.taken).toHaveLength(4);
  });

  it('is asked for by instance where some of a series is here', async () => {
    const w = await world(series(1, 2));
    await w.poll();
    w.archive.held.push(...series(1, 120).slice(2));
    await w.poll();
    expect(w.intake.taken).toHaveLength(120);
    const lists = w.archive.pacs.asked.filter(({ service, level }) => service === 'move' && level === 'IMAGE');
    expect(lists.map(({ keys }) => keys['SOPInstanceUID']?.split('\\').length)).toEqual([50, 50, 18]);
  });
});

describe('a PACS that says success and did not send', () => {
  it('leaves a gap, is asked again later and later, and the gap closes when all is here', async () => {
    const w = await world(series(1, 3));
    w.archive.lost.add(instanceUid(1, 1, 2));
    await w.poll();
    expect([...w.intake.gaps.values()]).toEqual(['INCOMPLETE']);
    const told = await w.told('source.incomplete');
    expect(told).toMatchObject({ code: 'PACS_INCOMPLETE', numbers: { missing: 1, expected: 3, attempts: 1 } });
    const movesBefore = w.archive.askedCount('move', 'IMAGE');
    expect(movesBefore).toBe(1);

    w.clock.freeze(9 * minuteMs);
    await w.poll();
    expect(w.archive.askedCount('move', 'IMAGE')).toBe(movesBefore);
    w.clock.freeze(minuteMs);
    await w.poll();
    expect(w.archive.askedCount('move', 'IMAGE')).toBeGreaterThan(movesBefore);
    w.archive.lost.clear();
    w.clock.freeze(19 * minuteMs);
    await w.poll();
    expect(w.intake.taken).toHaveLength(2);
    w.clock.freeze(minuteMs);
    await w.poll();
    expect(w.intake.taken).toHaveLength(3);
    w.clock.freeze(hourMs);
    await w.poll();
    expect([remembered(w), w.intake.gaps.size]).toEqual([['captured'], 0]);
  });

  it('keeps a pull from being called complete, whether its next try is due or not', async () => {
    const w = await world(series(1, 3));
    w.archive.lost.add(instanceUid(1, 1, 2));
    expect(await w.poll()).toMatchObject({ offered: 2, complete: false, open: 1 });
    expect(await w.poll()).toMatchObject({ offered: 0, complete: false, open: 1 });
    w.archive.lost.clear();
    w.clock.freeze(10 * minuteMs);
    const tally = await w.poll();
    expect(tally).toMatchObject({ offered: 1, complete: true });
    expect(tally).not.toHaveProperty('open');
  });

  it('is tried at once when a person asks, also when the study is older than the days looked at', async () => {
    const byHand = () => pollOf(w, undefined, 'by-hand');
    const w = await world([...series(1, 3), ...series(2, 1)], { daysBack: 0 });
    w.archive.lost.add(instanceUid(1, 1, 2));
    await w.poll();
    expect(await byHand()).toMatchObject({ offered: 0, complete: false, open: 1 });
    w.clock.freeze(2 * 24 * hourMs);
    expect(await w.poll()).toMatchObject({ complete: false, open: 1 });
    expect(await byHand()).toMatchObject({ offered: 0, complete: false, open: 1 });
    w.archive.lost.clear();
    expect(await byHand()).toMatchObject({ offered: 1, complete: true });
    expect(w.intake.taken).toHaveLength(4);
  });

  it('of anything at all is never believed', async () => {
    const w = await world(series(1, 3));
    w.archive.isHonest = false;
    await w.poll();
    w.clock.freeze(hourMs);
    await w.poll();
    expect([remembered(w), [...w.intake.gaps.values()], w.intake.taken]).toEqual([['study'], ['INCOMPLETE'], []]);
  });

  it('is found out by its own counts when it lists fewer instances than it has', async () => {
    const w = await world(series(1, 8));
    w.archive.limit = 5;
    w.archive.isSilentAtLimit = true;
    await w.poll();
    w.clock.freeze(hourMs);
    await w.poll();
    expect([remembered(w), [...w.intake.gaps.values()]]).toEqual([['study'], ['INCOMPLETE']]);
  });
});

describe('the gate', () => {
  it('is asked before a study is moved: what is deferred is remembered by reference and taken when it may be', async () => {
    const w = await world([...series(1, 2, { patientId: '1' }), ...series(2, 2, { patientId: '2' })]);
    const asked: PatientName[] = [];
    let isEligible = false;
    w.intake.wish = (patient, category) => {
      expect(category).toBe('image');
      asked.push(patient);
      return patient.normalized === '1' || isEligible ? 'take' : 'defer';
    };
    await w.poll();
    expect(w.archive.pacs.asked.filter(({ keys }) => keys['StudyInstanceUID'] === studyUid(2))).toEqual([]);
    expect([...w.intake.gaps.values()]).toEqual(['DEFERRED']);
    expect(w.intake.taken.every(({ facts }) => facts.patients[0]?.normalized === '1')).toBe(true);

    // By the day the patient is eligible, the study is older than the days that are looked at.
    isEligible = true;
    w.clock.freeze(10 * 24 * hourMs);
    await w.poll();
    expect(w.intake.taken.filter(({ facts }) => facts.patients[0]?.normalized === '2')).toHaveLength(2);
    w.clock.freeze(hourMs);
    await w.poll();
    expect([remembered(w), w.intake.gaps.size]).toEqual([['captured', 'captured'], 0]);
  });

  it('that says never leaves nothing remembered, not even what was deferred before', async () => {
    const w = await world(series(1, 2));
    w.intake.wish = () => 'defer';
    await w.poll();
    expect(remembered(w)).toEqual(['study']);
    w.intake.wish = () => 'never';
    await w.poll();
    expect([remembered(w), w.intake.gaps.size, w.intake.taken]).toEqual([[], 0, []]);
  });

  it('that no longer passes makes no gap of a study that is here, and the study goes when it says never', async () => {
    const w = await world(series(1, 2));
    await w.poll();
    w.clock.freeze(hourMs);
    await w.poll();
    w.intake.wish = () => 'defer';
    await w.poll();
    expect([remembered(w), w.intake.gaps.size]).toEqual([['captured'], 0]);
    w.intake.wish = () => 'take';
    await w.poll();
    expect([remembered(w), w.intake.taken.length]).toEqual([['captured'], 2]);
    w.intake.wish = () => 'never';
    await w.poll();
    expect(remembered(w)).toEqual([]);
  });

  it('is asked about all who wait, however many, in one commit a page', async () => {
    const studies = Array.from({ length: 600 }, (_, index) => held({ study: index + 1, patientId: String(index) }));
    const w = await world(studies);
    w.intake.wish = () => 'defer';
    await w.poll();
    expect(w.intake.gaps.size).toBe(600);
    w.clock.freeze(10 * 24 * hourMs);
    const before = w.intake.offers.length;
    await w.poll();
    expect(w.intake.offers.length - before).toBe(2);
  });

  it('cannot be asked about a study without a patient, which is deferred', async () => {
    const w = await world(series(1, 1, { patientId: '' }));
    w.intake.wish = () => {
      throw new Error('asked about nobody');
    };
    await w.poll();
    expect([...w.intake.gaps.values()]).toEqual(['DEFERRED']);
  });
});

describe('a day with more studies than the PACS answers', () => {
  const day = (count: number) =>
    Array.from({ length: count }, (_, index) => {
      const time = `${String(Math.floor(index / 6) % 24).padStart(2, '0')}${String((index % 6) * 10).padStart(2, '0')}00`;
      return held({ study: index + 1, studyTime: index === 0 ? undefined : time });
    });

  it.each([
    ['0xFE00', false, 10],
    ['nothing said', true, 100],
  ])('is asked for by hours and minutes: %s', async (_, isSilentAtLimit, limit) => {
    const w = await world(day(130), { daysBack: 0 });
    w.archive.limit = limit;
    w.archive.isSilentAtLimit = isSilentAtLimit;
    const tally = await w.poll();
    expect([w.intake.taken.length, tally.complete]).toEqual([130, true]);
  });

  it('is remembered with its limit, so that the next time silence at that number is not believed', async () => {
    const w = await world(day(25), { daysBack: 0 });
    w.archive.limit = 12;
    await w.poll();
    expect(remembered(w)).toContain('limit');
    const again = makeSource(
      { query: { host: '127.0.0.1', port: w.archive.pacs.port, aeTitle: 'ARCHIVE' }, daysBack: 0 },
      w.intake,
    );
    w.archive.isSilentAtLimit = true;
    const before = w.archive.askedCount('find', 'STUDY');
    await pollOf(again);
    expect(w.archive.askedCount('find', 'STUDY') - before).toBeGreaterThan(24);
  });

  it('is not complete when even a minute holds more than it answers', async () => {
    const w = await world(
      Array.from({ length: 8 }, (_, index) => held({ study: index + 1 })),
      { daysBack: 0 },
    );
    w.archive.limit = 5;
    expect((await w.poll()).complete).toBe(false);
    expect(w.intake.taken).toHaveLength(5);
  });
});

describe('a poll', () => {
  it('ends with the error when the list is cut in the middle, and believes nothing of it', async () => {
    const pacs = await ScriptedPacs.start((_, line) => {
      line.pending({ StudyInstanceUID: studyUid(1), PatientID: '1' });
      line.abort();
    });
    closing.push(pacs);
    const source = await startSource({ query: { host: '127.0.0.1', port: pacs.port, aeTitle: 'ARCHIVE' } });
    await expect(pollOf(source)).rejects.toMatchObject({ code: 'PACS_CUT' });
    expect(source.intake.offers).toEqual([]);
  });

  it('ends with the status when the PACS fails', async () => {
    const pacs = await ScriptedPacs.start((_, line) => line.final(0xc001));
    closing.push(pacs);
    const source = await startSource({ query: { host: '127.0.0.1', port: pacs.port, aeTitle: 'ARCHIVE' } });
    await expect(pollOf(source)).rejects.toMatchObject({ code: 'PACS_FAILED', details: { status: '0xC001' } });
    expect(pacs.asked.length).toBeLessThan(4);
  });

  it('loses nothing when it is broken off, and has one association at a time', async () => {
    const w = await world([...series(1, 3), ...series(2, 3), ...series(3, 3)]);
    const aborting = new AbortController();
    const commit = Promise.withResolvers<void>();
    w.intake.gate = commit.promise;
    const poll = pollOf(w, aborting.signal);
    await w.intake.whenOffered(1);
    expect(w.archive.pacs.openCount).toBe(1);
    aborting.abort();
    commit.resolve();
    expect((await poll).complete).toBe(false);
    expect((await w.poll()).complete).toBe(true);
    expect(w.intake.taken.length).toBe(9);
  });

  it('moves no study on when its state cannot be committed', async () => {
    const w = await world(series(1, 2));
    w.intake.failure = bufferFull;
    await expect(w.poll()).rejects.toMatchObject({ code: 'BUFFER_FULL' });
    expect([remembered(w), w.archive.stored.every((status) => status === '0xA700')]).toEqual([[], true]);
    w.intake.failure = undefined;
    await w.poll();
    expect(w.intake.taken).toHaveLength(2);
  });

  it('tells how far it is', async () => {
    const w = await world([...series(1, 1), ...series(2, 1)]);
    const told: unknown[] = [];
    await w.source.poll?.(new AbortController().signal, (state) => told.push(state));
    expect(told).toEqual([
      { done: 1, total: 2, unit: 'studies' },
      { done: 2, total: 2, unit: 'studies' },
    ]);
  });

  it('fetches what a full buffer made it note, and closes the gap', async () => {
    const w = await world(series(1, 2), { whenFull: 'gap', daysBack: 0 });
    w.intake.failure = (offer) => (offer.records.length > 0 ? bufferFull() : undefined);
    await w.poll();
    expect([...w.intake.gaps.values()].toSorted()).toEqual(['FULL', 'FULL', 'INCOMPLETE']);
    w.intake.failure = undefined;
    w.clock.freeze(30 * 24 * hourMs);
    await w.poll();
    expect(w.intake.taken).toHaveLength(2);
    w.clock.freeze(hourMs);
    await w.poll();
    expect([w.intake.gaps.size, remembered(w)]).toEqual([0, ['captured']]);
  });

  it('forgets a captured study when it has long left the days that are looked at', async () => {
    const w = await world(series(1, 1));
    await w.poll();
    w.clock.freeze(hourMs);
    await w.poll();
    expect(remembered(w)).toEqual(['captured']);
    w.clock.freeze(60 * 24 * hourMs);
    await w.poll();
    expect(remembered(w)).toEqual([]);
  });

  it('is not offered without a PACS to ask', () => {
    expect(makeSource().source).toHaveProperty('poll', undefined);
  });
});
