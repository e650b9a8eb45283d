import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inlineBytesMax } from '../../agent/buffer/spool.ts';
import { expire } from '../../agent/flow/refresh.ts';
import { ConnectorError } from '../../agent/model/errors.ts';
import type { OfferedRecord } from '../../agent/model/record.ts';
import { anon, breaches, Flow, type FlowOptions, ldi, merge, nameOf, record, today } from './harness.ts';

let flow: Flow;
beforeEach(() => {
  flow = new Flow();
});
afterEach(() => {
  expect(breaches(flow.store)).toEqual([]);
  flow.remove();
});

function rebuilt(options: FlowOptions): Flow {
  flow.remove();
  flow = new Flow(options);
  return flow;
}

/** Patient 1 may leave to ldi, and to anon where it is there. */
function lawful(): void {
  flow.filed(ldi);
  flow.told('1');
  if (flow.store.producers.some(({ name }) => name === 'anon')) {
    flow.filed(anon);
    flow.told('1', { basis: 'article-52' });
  }
}

function files(folder: string): string[] {
  const path = join(flow.folder, folder);
  return (existsSync(path) ? readdirSync(path, { recursive: true, withFileTypes: true }) : [])
    .filter((entry) => entry.isFile())
    .map(({ name }) => name);
}

/** Every byte of the state that is on disk. */
function diskBytes(): Buffer {
  return Buffer.concat(
    readdirSync(flow.folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name))),
  );
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'no error',
    (error: unknown) => (error instanceof ConnectorError ? error.code : String(error)),
  );
}

async function* chunks(count: number, bytes = 100_000, failAt = Infinity): AsyncGenerator<Uint8Array> {
  for (let index = 0; index < count; index++) {
    if (index === failAt) throw new Error('the association was aborted');
    yield Buffer.alloc(bytes, index + 1);
  }
}

describe('an offered record', () => {
  it('is kept when it may leave', async () => {
    lawful();
    const [result] = await flow.offer(record());
    expect(result?.outcome).toBe('kept');
    expect(flow.states(result)).toEqual({ ldi: 'ready' });
    expect(flow.isPresent(result)).toBe(true);
  });

  it('is held, encrypted, while it may not leave yet', async () => {
    flow.filed();
    const [result] = await flow.offer(record({ body: 'PID|1||0012345||架橋^太郎' }));
    expect(result?.outcome).toBe('held');
    expect(flow.states(result)).toEqual({ ldi: 'held' });
    expect(diskBytes().includes('架橋')).toBe(false);
  });

  it('of a patient who has stopped is refused, and no byte of it is stored', async () => {
    lawful();
    await flow.stop('1');
    const before = flow.store.db.prepare('SELECT count(*) FROM record WHERE wrapped_key IS NOT NULL').pluck();
    const [inline, streamed] = await flow.offer(record(), record({ key: 'HIS|2', body: chunks(4) }));
    expect([inline?.outcome, streamed?.outcome]).toEqual(['refused', 'refused']);
    expect(before.get()).toBe(0);
    expect(files('spool')).toEqual([]);
  });

  it('with a reason for quarantine is set aside and judged by nobody', async () => {
    lawful();
    const [result] = await flow.offer(record({ facts: { quarantine: 'UNDECODABLE' } }));
    expect(result?.outcome).toBe('quarantined');
    expect(flow.states(result)).toEqual({});
    expect(flow.isPresent(result)).toBe(true);
  });

  it('without a patient can only be set aside', async () => {
    const [result] = await flow.offer(record({ facts: { patients: [], quarantine: 'NO_PATIENT' } }));
    expect(result?.outcome).toBe('quarantined');
  });

  it('with a reason for quarantine is not even set aside when its patient has stopped', async () => {
    lawful();
    await flow.stop('1');
    const [result] = await flow.offer(record({ facts: { quarantine: 'TWO_PATIENTS' } }));
    expect(result?.outcome).toBe('refused');
    expect(flow.isPresent(result)).toBe(false);
  });

  it('offered twice is a duplicate under the same id, within one offer as well', async () => {
    lawful();
    const [first, twin] = await flow.offer(record(), record());
    const [again] = await flow.offer(record());
    expect([first?.outcome, twin?.outcome, again?.outcome]).toEqual(['kept', 'duplicate', 'duplicate']);
    expect(new Set([first?.recordId, twin?.recordId, again?.recordId]).size).toBe(1);
  });

  it('with other bytes under the same native key is another record', async () => {
    lawful();
    expect(await flow.outcomes(record(), record({ body: 'corrected' }))).toEqual(['kept', 'kept']);
  });

  it('of a source that replaces another is a duplicate of what that one offered', async () => {
    lawful();
    await flow.offer(record());
    const heir = flow.acceptor.intakeFor(flow.store.names.source('new-ehr', 'ehr-feed'));
    const stranger = flow.acceptor.intakeFor(flow.store.names.source('other'));
    expect((await heir.accept({ records: [record()] }))[0]?.outcome).toBe('duplicate');
    expect((await stranger.accept({ records: [record()] }))[0]?.outcome).toBe('kept');
  });

  it('of a source that replaces another is known to it already', async () => {
    lawful();
    await flow.offer(record());
    const heir = flow.acceptor.intakeFor(flow.store.names.source('new-ehr', 'ehr-feed'));
    const stranger = flow.acceptor.intakeFor(flow.store.names.source('other'));
    expect(heir.known([{ nativeKey: 'HIS|1' }])).toEqual(['live']);
    expect(stranger.known([{ nativeKey: 'HIS|1' }])).toEqual(['unknown']);
  });
});

describe('a record offered again', () => {
  it.each(['sealed', 'stored'] as const)(
    'while its parcel is %s is a duplicate, and does not go twice',
    async (state) => {
      lawful();
      const [first] = await flow.offer(record());
      const parcel = await flow.sealed();
      if (state === 'stored') await flow.answered(parcel, 'stored');
      expect(await flow.outcomes(record())).toEqual(['duplicate']);
      expect(flow.states(first)).toEqual({ ldi: state === 'stored' ? 'stored' : 'packed' });
    },
  );

  it('after it was opened is a duplicate', async () => {
    lawful();
    await flow.offer(record());
    await flow.delivered();
    expect(await flow.outcomes(record())).toEqual(['duplicate']);
  });

  it('after producer A opened it, while B is newly permitted, revives for B alone', async () => {
    rebuilt({ producers: [ldi, anon] });
    flow.filed(ldi);
    flow.filed(anon);
    flow.told('1');
    const [first] = await flow.offer(record({ prefix: Buffer.from('DICM') }));
    flow.store.db.exec("UPDATE delivery SET until = 0 WHERE state = 'held'");
    await flow.delivered('ldi');
    await flow.finish(expire(flow.store, flow.time.now()).after);
    expect(flow.isPresent(first)).toBe(false);
    flow.told('1', { basis: 'article-52' });
    const [again] = await flow.offer(record({ prefix: Buffer.from('DICM') }));
    expect(again).toEqual({ outcome: 'kept', recordId: first?.recordId });
    expect(flow.states(again)).toEqual({ ldi: 'opened', anon: 'ready' });
    const parcel = await flow.delivered('anon');
    expect(parcel.payloadBytes).toBe('HIS|1'.length + 4);
    expect(flow.isPresent(again)).toBe(false);
  });

  it('while its payload is still there serves a producer that came later without a second copy', async () => {
    lawful();
    const big = () => record({ body: Buffer.alloc(inlineBytesMax + 1, 7) });
    const [first] = await flow.offer(big());
    flow = flow.reopen({ producers: [ldi, anon] });
    flow.filed(anon);
    flow.told('1', { basis: 'article-52' });
    const [again] = await flow.offer(big());
    expect(again?.outcome).toBe('kept');
    expect(flow.states(first)).toEqual({ ldi: 'ready', anon: 'ready' });
    expect(files('spool')).toHaveLength(1);
    const sizes = flow.store.db.prepare('SELECT DISTINCT bytes FROM delivery').pluck().all();
    expect(sizes).toEqual([inlineBytesMax + 1]);
  });

  it('after it had expired revives, and its gap is closed', async () => {
    flow.filed();
    const [first] = await flow.offer(record());
    flow.time.advanceDays(46);
    flow.fresh();
    await flow.finish(expire(flow.store, flow.time.now()).after);
    expect(flow.states(first)).toEqual({ ldi: 'expired' });
    expect(flow.store.memory.gapCount()).toBe(1);
    flow.told('1');
    expect(await flow.outcomes(record())).toEqual(['kept']);
    expect(flow.store.memory.gapCount()).toBe(0);
    expect((await flow.delivered()).state).toBe('opened');
  });

  it('after a stop stays refused, and revives only after the withdrawal', async () => {
    lawful();
    const [first] = await flow.offer(record());
    await flow.stop('1');
    expect(flow.states(first)).toEqual({ ldi: 'stopped' });
    expect(await flow.outcomes(record())).toEqual(['refused']);
    flow.withdraw('1');
    expect(flow.states(first)).toEqual({ ldi: 'stopped' });
    const [again] = await flow.offer(record());
    expect(again).toEqual({ outcome: 'kept', recordId: first?.recordId });
    expect(flow.isPresent(again)).toBe(true);
  });

  it('after it was only a tombstone has its true size', async () => {
    lawful();
    await flow.stop('1');
    await flow.offer(record({ body: 'twelve bytes' }));
    flow.withdraw('1');
    const [again] = await flow.offer(record({ body: 'twelve bytes' }));
    expect(flow.store.records.byRid(Buffer.from(again?.recordId ?? '', 'hex'))?.bytes).toBe(12);
  });

  it('with its patient known by now is no longer nobody’s', async () => {
    lawful();
    const unreadable = record({ facts: { patients: [], quarantine: 'NO_PATIENT' } });
    const [first] = await flow.offer(unreadable);
    expect(await flow.outcomes(record())).toEqual(['duplicate']);
    const head = flow.store.records.byRid(Buffer.from(first?.recordId ?? '', 'hex'));
    flow.store.records.destroy(head?.id ?? 0);
    expect(await flow.outcomes(record())).toEqual(['kept']);
    expect((await flow.delivered()).state).toBe('opened');
  });
});

describe('several producers', () => {
  beforeEach(() => void rebuilt({ producers: [ldi, anon] }));

  it.each([
    ['kept', 'article-57', ['ready', 'held']],
    ['kept', 'article-52', ['held', 'ready']],
  ] as const)('make the outcome the best of them: %s with a notice on %s', async (outcome, basis, states) => {
    flow.filed(ldi);
    flow.filed(anon);
    flow.told('1', { basis });
    const [result] = await flow.offer(record());
    expect(result?.outcome).toBe(outcome);
    expect(flow.states(result)).toEqual({ ldi: states[0], anon: states[1] });
  });

  it('hold a record that one must not have and the other may not have yet', async () => {
    flow.filed(ldi);
    flow.filed(anon);
    await flow.stop('1', 'article-57');
    const [result] = await flow.offer(record());
    expect(result?.outcome).toBe('held');
    expect(flow.states(result)).toEqual({ anon: 'held' });
  });

  it('keep the payload until the last of them has opened it', async () => {
    lawful();
    const [result] = await flow.offer(record());
    await flow.delivered('ldi');
    expect(flow.isPresent(result)).toBe(true);
    await flow.delivered('anon');
    expect(flow.isPresent(result)).toBe(false);
  });
});

describe('before any producer is enrolled', () => {
  it('stores nothing, and does not take anybody for stopped', async () => {
    rebuilt({ producers: [] });
    const [result] = await flow.offer(record());
    expect(result?.outcome).toBe('refused');
    expect(flow.intake().wants(nameOf('1'), 'lab-result')).toBe('defer');
  });
});

describe('merges and names', () => {
  it('a merge message makes both names one person, and judges both', async () => {
    lawful();
    await flow.offer(record({ key: 'HIS|2', patient: '2' }));
    expect(await flow.outcomes(merge('2', '1'))).toEqual(['kept']);
    const { subjects } = flow.store;
    expect(subjects.rootOf(subjects.ensure(nameOf('2')))).toBe(subjects.rootOf(subjects.ensure(nameOf('1'))));
  });

  it('a merge with somebody who has stopped stops what the other has waiting, in the same transaction', async () => {
    lawful();
    const [waiting] = await flow.offer(record({ key: 'HIS|2' }));
    await flow.stop('2');
    expect(await flow.outcomes(merge('2', '1'))).toEqual(['refused']);
    expect(flow.states(waiting)).toEqual({ ldi: 'stopped' });
    expect(flow.isPresent(waiting)).toBe(false);
  });

  it('a merge of people who have not stopped destroys nothing', async () => {
    lawful();
    const [waiting] = await flow.offer(record());
    const parcel = await flow.sealed();
    await flow.answered(parcel, 'stored');
    await flow.answered(parcel, 'rejected');
    const [other] = await flow.offer(record({ key: 'HIS|2', patient: '2' }));
    await flow.offer(merge('2', '1'));
    expect(flow.states(waiting)).toEqual({ ldi: 'rejected' });
    expect([flow.isPresent(waiting), flow.isPresent(other)]).toEqual([true, true]);
  });

  it('a merge offered twice is written once', async () => {
    lawful();
    await flow.offer(merge('2', '1'));
    expect(await flow.outcomes(merge('2', '1'))).toEqual(['duplicate']);
    const merges = [...flow.store.ledger.entries()].filter(({ kind }) => kind === 'merge');
    expect(merges).toHaveLength(1);
  });

  it('an alias links what came before its patient was known, and its stop with it', async () => {
    lawful();
    const alias = nameOf('Patient/9', 'fhir');
    const [early] = await flow.offer(record({ key: 'Observation/1', facts: { patients: [alias] } }));
    expect(early?.outcome).toBe('held');
    await flow.offer(record({ key: 'Patient/9', category: 'demographics', facts: { aliases: [alias] } }));
    await flow.refresh();
    expect(flow.states(early)).toEqual({ ldi: 'ready' });
    await flow.stop('1');
    expect(flow.states(early)).toEqual({ ldi: 'stopped' });
  });

  it('a record that names two people is judged by the stricter of them', async () => {
    lawful();
    expect(await flow.outcomes(record({ facts: { patients: [nameOf('1'), nameOf('2')] } }))).toEqual(['held']);
  });
});

describe('what is committed with the records', () => {
  it('is the source’s memory, its gaps and what it closes', async () => {
    lawful();
    await flow.accept({
      records: [record()],
      state: [{ kind: 'cursor', key: 'feed', value: Buffer.from('42'), mark: 7 }],
      gaps: [{ code: 'INCOMPLETE', reference: 'study 1.2.3' }],
    });
    expect(flow.intake().state('cursor', 'feed')).toEqual({ value: Buffer.from('42'), mark: 7 });
    expect(flow.store.memory.gapCount()).toBe(1);
    await flow.accept({
      records: [],
      closes: ['study 1.2.3'],
      state: [{ kind: 'cursor', key: 'feed', value: undefined }],
    });
    expect(flow.intake().state('cursor', 'feed')).toBeUndefined();
    expect(flow.store.memory.gapCount()).toBe(0);
  });

  it('stays apart from another source’s under the same words', async () => {
    await flow.accept({ records: [], state: [{ kind: 'cursor', key: 'feed', value: Buffer.from('42') }] });
    expect(flow.intake('other').state('cursor', 'feed')).toBeUndefined();
  });

  it('can be read back in pages below a mark', async () => {
    const state = [3, 1, 2].map((mark) => ({ kind: 'job', key: `${mark}`, value: Buffer.from(`${mark}`), mark }));
    await flow.accept({ records: [], state });
    const page = flow.intake().states('job', { below: 3, limit: 10 });
    expect(page.map(({ value }) => String(value))).toEqual(['1', '2']);
  });

  it('is nothing at all when one record of the offer cannot be read', async () => {
    lawful();
    const state = [{ kind: 'cursor', key: 'feed', value: Buffer.from('42') }];
    const broken = record({ key: 'HIS|2', body: chunks(5, 100_000, 3) });
    await expect(flow.accept({ records: [record(), broken], state })).rejects.toThrow('the association was aborted');
    expect(flow.intake().state('cursor', 'feed')).toBeUndefined();
    expect(flow.intake().known([{ nativeKey: 'HIS|1' }])).toEqual(['unknown']);
    expect(files('spool')).toEqual([]);
  });
});

describe('a large payload', () => {
  it('is a file of its own, whole and named by its row before the offer is answered', async () => {
    lawful();
    const [result] = await flow.offer(record({ body: chunks(4) }));
    const [name] = files('spool');
    const row = flow.store.db
      .prepare<[], { seal_id: Buffer; spool: number }>('SELECT seal_id, spool FROM record')
      .get();
    expect(row).toMatchObject({ spool: 1, seal_id: Buffer.from(name ?? '', 'hex') });
    expect(result?.outcome).toBe('kept');
    expect((await flow.delivered()).payloadBytes).toBe(400_000);
    expect(files('spool')).toEqual([]);
  });

  it.each([
    ['inline', inlineBytesMax, 0],
    ['a file', inlineBytesMax + 1, 1],
  ])('is %s at %d bytes', async (_, bytes, count) => {
    lawful();
    await flow.offer(record({ body: Buffer.alloc(bytes) }));
    expect(files('spool')).toHaveLength(count);
  });

  it('offered again leaves no second file', async () => {
    lawful();
    await flow.offer(record({ body: chunks(4) }));
    expect(await flow.outcomes(record({ body: chunks(4) }))).toEqual(['duplicate']);
    expect(files('spool')).toHaveLength(1);
  });

  it('above the limit is refused with RECORD_TOO_LARGE and leaves nothing', async () => {
    rebuilt({ recordBytesMax: 350_000 });
    lawful();
    expect(await codeOf(flow.offer(record({ body: chunks(4) })))).toBe('RECORD_TOO_LARGE');
    expect(files('spool')).toEqual([]);
  });

  it('whose facts cannot be told afterwards leaves nothing', async () => {
    lawful();
    const broken: OfferedRecord = {
      payload: { body: chunks(4) },
      describe: () => {
        throw new Error('no SOP Instance UID');
      },
    };
    await expect(flow.offer(broken)).rejects.toThrow('no SOP Instance UID');
    expect(files('spool')).toEqual([]);
  });
});

describe('group commit', () => {
  it('does not let one bad offer turn away those that arrived with it', async () => {
    lawful();
    const bad = record({ key: 'HIS|2', facts: { lane: null as unknown as 'text' } });
    const answers = await Promise.allSettled([
      flow.offer(record()),
      flow.offer(bad),
      flow.offer(record({ key: 'HIS|3' })),
    ]);
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(await codeOf(flow.offer(bad))).toBe('BUFFER_FAILED');
    expect(flow.intake().known(['HIS|1', 'HIS|2', 'HIS|3'].map((nativeKey) => ({ nativeKey })))).toEqual([
      'live',
      'unknown',
      'live',
    ]);
  });

  it('answers nobody before what they offered is committed', async () => {
    lawful();
    const seen: number[] = [];
    const count = flow.store.db.prepare('SELECT count(*) FROM record').pluck();
    await Promise.all(
      Array.from({ length: 600 }, (_, index) =>
        flow.offer(record({ key: `HIS|${index}` })).then(() => seen.push(Number(count.get()))),
      ),
    );
    expect(seen.every((rows, index) => rows > index)).toBe(true);
    expect(count.get()).toBe(600);
  });
});

describe('a full disk', () => {
  it('is told before anything is staged when the reserve is used up', async () => {
    lawful();
    flow.room = 'full';
    expect(await codeOf(flow.offer(record({ body: chunks(4) })))).toBe('BUFFER_FULL');
    expect(await codeOf(flow.accept({ records: [], gaps: [{ code: 'FULL', reference: 'HIS|1' }] }))).toBe('no error');
    expect(flow.store.memory.gapCount()).toBe(1);
  });

  it('in the middle of a commit is BUFFER_FULL, stores nothing, and is over when there is room again', async () => {
    lawful();
    const { db } = flow.store;
    const pages = Number(db.pragma('page_count', { simple: true }));
    db.pragma(`max_page_count = ${pages}`);
    const large = () => record({ body: Buffer.alloc(200_000, 1) });
    const streamed = () =>
      record({
        key: 'HIS|2',
        body: chunks(4),
        facts: { versionKey: 'x'.repeat(100_000), nativeKey: 'y'.repeat(100_000) },
      });
    expect(
      await codeOf(flow.accept({ records: [large()], state: [{ kind: 'cursor', key: 'a', value: Buffer.alloc(9) }] })),
    ).toBe('BUFFER_FULL');
    expect(await codeOf(flow.offer(streamed()))).toBe('BUFFER_FULL');
    expect(flow.fullCount).toBe(2);
    expect(db.prepare('SELECT count(*) FROM record').pluck().get()).toBe(0);
    expect(flow.intake().state('cursor', 'a')).toBeUndefined();
    expect(files('spool')).toEqual([]);
    db.pragma('max_page_count = 1000000');
    expect(await flow.outcomes(large(), streamed())).toEqual(['kept', 'kept']);
  });
});

describe('what a source may ask', () => {
  it('wants: take who may leave, defer who may not yet or is unknown, never who has stopped', async () => {
    lawful();
    flow.told('2', { on: today });
    await flow.stop('3');
    const intake = flow.intake();
    const wants = (patient: string) => intake.wants(nameOf(patient), 'lab-result');
    expect(['1', '2', '3', '4'].map((id) => wants(id))).toEqual(['take', 'defer', 'never', 'defer']);
    expect(intake.wants(nameOf('1'), 'unclassified')).toBe('defer');
  });

  it('wants does not remember a patient it was asked about', () => {
    lawful();
    flow.intake().wants(nameOf('4'), 'lab-result');
    expect(flow.store.subjects.find(nameOf('4'))).toBeUndefined();
  });

  it('known: live, delivered, refused or unknown, by key and by version', async () => {
    lawful();
    await flow.offer(record({ version: 'a' }));
    await flow.delivered();
    await flow.offer(record({ version: 'b', body: 'second' }));
    await flow.stop('3');
    await flow.offer(record({ key: 'HIS|3', patient: '3' }));
    const keys = [
      { nativeKey: 'HIS|1', versionKey: 'a' },
      { nativeKey: 'HIS|1', versionKey: 'b' },
      { nativeKey: 'HIS|1', versionKey: 'c' },
      { nativeKey: 'HIS|1' },
      { nativeKey: 'HIS|3' },
      { nativeKey: 'HIS|4' },
    ];
    expect(flow.intake().known(keys)).toEqual(['delivered', 'live', 'unknown', 'live', 'refused', 'unknown']);
    expect(flow.intake('other').known([{ nativeKey: 'HIS|1' }])).toEqual(['unknown']);
  });
});

describe('a deletion', () => {
  it('with the bytes of what it deletes is not a duplicate of its arrival', async () => {
    const flow = new Flow();
    flow.filed();
    flow.told('1');
    expect(await flow.outcomes(record(), record({ facts: { op: 'DEL' } }), record({ facts: { op: 'DEL' } }))).toEqual([
      'kept',
      'kept',
      'duplicate',
    ]);
    flow.remove();
  });
});
