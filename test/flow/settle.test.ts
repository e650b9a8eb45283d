import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { settle, settleVoid } from '../../agent/flow/settle.ts';
import { peekJws } from '../../agent/base/jws.ts';
import type { Parcel } from '../../agent/buffer/parcels.ts';
import type { Receipt } from '../../agent/model/wire.ts';
import { anon, breaches, Flow, ldi, record, signReceipt } from './harness.ts';

let flow: Flow;
beforeEach(() => {
  flow = new Flow({ producers: [ldi, anon] });
  flow.filed(ldi);
  flow.filed(anon);
  for (const patient of ['1', '2']) flow.told(patient);
});
afterEach(() => {
  expect(breaches(flow.store)).toEqual([]);
  flow.remove();
});

const offerTwo = () => flow.offer(...['1', '2'].map((patient) => record({ patient, key: `HIS|${patient}` })));
const kinds = () => [...flow.store.ledger.entries()].map(({ kind }) => kind);
const count = (kind: string) => kinds().filter((each) => each === kind).length;
const parcelFiles = () => readdirSync(join(flow.folder, 'parcels'));

async function settleRaw(parcel: Parcel, status: Receipt['status']): Promise<void> {
  const jws = signReceipt(flow.store, flow.producer(), parcel, status);
  await flow.finish(settle(flow.store, flow.producer(), { receipt: peekJws(jws) as Receipt, jws }));
}

describe('a stored receipt', () => {
  it('REQ-REC-1: writes the provision record: who, what, on which notice', async () => {
    const [first] = await offerTwo();
    const parcel = await flow.sealed();
    await flow.answered(parcel, 'stored');
    const lines = zstdDecompressSync(flow.store.ledger.openProvision(parcel.pid) ?? Buffer.alloc(0))
      .toString()
      .split('\n');
    expect(lines).toHaveLength(2);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      recordId: first?.recordId,
      patientId: '001',
      category: 'lab-result',
      notice: 'notice-article-57',
      basis: 'article-57',
    });
    expect(kinds().at(-1)).toBe('provision');
  });

  it('keeps the payload, and lets the sealed file go', async () => {
    const [first] = await offerTwo();
    const parcel = await flow.sealed();
    await flow.answered(parcel, 'stored');
    expect(flow.states(first)['ldi']).toBe('stored');
    expect(flow.isPresent(first)).toBe(true);
    expect(parcelFiles()).toEqual([]);
  });

  it('again under another number changes nothing but the chain', async () => {
    const [first] = await offerTwo();
    const parcel = await flow.sealed();
    await flow.answered(parcel, 'stored');
    await flow.answered(parcel, 'opened');
    await flow.answered(parcel, 'stored');
    expect(flow.parcel(parcel.id).state).toBe('opened');
    expect(flow.states(first)['ldi']).toBe('opened');
    expect(count('provision')).toBe(1);
  });

  it('for a parcel whose patient has stopped meanwhile is true, and is taken back at once', async () => {
    const [first, second] = await offerTwo();
    const parcel = await flow.sealed();
    await flow.stop('1');
    await flow.answered(parcel, 'stored');
    expect([flow.states(first)['ldi'], flow.states(second)['ldi']]).toEqual(['stored', 'stored']);
    const [retraction] = flow.store.retractions.open(flow.producer().id);
    expect(flow.store.retractions.detail(retraction?.id ?? '')).toMatchObject({
      recordIds: [first?.recordId],
      patientIds: ['001'],
      parcelIds: [parcel.pid],
    });
    expect(flow.isPresent(first)).toBe(false);
    await flow.answered(parcel, 'opened');
    expect(flow.states(first)['ldi']).toBe('opened');
  });
});

describe('an opened receipt', () => {
  it('is the only thing that destroys a payload that was delivered', async () => {
    flow = flow.reopen({ producers: [ldi] });
    const [first] = await offerTwo();
    const parcel = await flow.sealed();
    flow.store.parcels.sending(parcel.id, parcel.bytes ?? 0);
    await flow.answered(parcel, 'stored');
    expect(flow.isPresent(first)).toBe(true);
    await flow.answered(parcel, 'opened');
    expect(flow.isPresent(first)).toBe(false);
    expect(flow.parcel(parcel.id)).toMatchObject({ state: 'opened', endedAt: flow.time.now() });
  });

  it('leaves the payload to the producer that still waits for it', async () => {
    flow.told('1', { basis: 'article-52' });
    const [first] = await offerTwo();
    await flow.delivered();
    expect(flow.states(first)).toEqual({ ldi: 'opened', anon: 'ready' });
    expect(flow.isPresent(first)).toBe(true);
  });

  it('without a stored one before it says that too', async () => {
    await offerTwo();
    const parcel = await flow.sealed();
    await flow.answered(parcel, 'opened');
    expect(count('provision')).toBe(1);
    expect(flow.parcel(parcel.id).state).toBe('opened');
  });
});

describe('a rejected receipt', () => {
  it('keeps the payload for a person to decide, through merges and other receipts', async () => {
    flow.told('1', { basis: 'article-52' });
    const [first] = await flow.offer(record());
    const parcel = await flow.sealed();
    await flow.answered(parcel, 'stored');
    await flow.answered(parcel, 'rejected');
    await flow.delivered('anon');
    expect(flow.states(first)).toEqual({ ldi: 'rejected', anon: 'opened' });
    expect(flow.isPresent(first)).toBe(true);
  });

  it('lets the record be offered, and delivered, again', async () => {
    await flow.offer(record());
    const parcel = await flow.sealed();
    await flow.answered(parcel, 'rejected');
    expect(await flow.outcomes(record())).toEqual(['kept']);
    expect((await flow.delivered()).sequence).toBe(2);
  });

  it('of a parcel that was retracted leaves nothing to decide', async () => {
    const [first, second] = await offerTwo();
    const parcel = await flow.sealed();
    await flow.answered(parcel, 'stored');
    await flow.stop('1');
    await flow.answered(parcel, 'rejected');
    expect([flow.states(first)['ldi'], flow.states(second)['ldi']]).toEqual(['stopped', 'rejected']);
  });

  it('does not outlive a stop', async () => {
    const [first] = await flow.offer(record());
    const parcel = await flow.sealed();
    await flow.answered(parcel, 'rejected');
    await flow.stop('1');
    expect(flow.states(first)['ldi']).toBe('stopped');
    expect(flow.isPresent(first)).toBe(false);
  });
});

describe('any receipt', () => {
  it('a second time, in the same place of the chain, changes nothing', async () => {
    await offerTwo();
    const parcel = await flow.sealed();
    const jws = signReceipt(flow.store, flow.producer(), parcel, 'stored');
    const receipt = peekJws(jws) as Receipt;
    settle(flow.store, flow.producer(), { receipt, jws });
    const head = flow.store.ledger.head();
    settle(flow.store, flow.producer(), { receipt, jws });
    expect(flow.store.ledger.head()).toEqual(head);
    expect(flow.store.parcels.receipts(flow.producer().id)).toHaveLength(1);
  });

  it('for a parcel that was forgotten keeps its place in the chain', async () => {
    await offerTwo();
    const parcel = await flow.sealed();
    await settleRaw({ ...parcel, pid: 'of an older life' }, 'stored');
    await flow.answered(parcel, 'stored');
    expect(flow.store.parcels.receipts(flow.producer().id).map(({ sequence }) => sequence)).toEqual([1, 2]);
  });
});

describe('a parcel taken back', () => {
  it('is void when the producer says so, and its fellow travellers go again', async () => {
    const [first, second] = await offerTwo();
    const parcel = await flow.sealed();
    await flow.stop('1');
    expect(flow.states(second)['ldi']).toBe('packed');
    await flow.finish(settleVoid(flow.store, flow.producer(), parcel.id, { atomic: true }));
    expect([flow.states(first)['ldi'], flow.states(second)['ldi']]).toEqual(['stopped', 'ready']);
    expect(flow.parcel(parcel.id)).toMatchObject({ state: 'void', reason: 'stopped' });
    expect(parcelFiles()).toEqual([]);
    expect(flow.store.retractions.open(flow.producer().id)).toEqual([]);
  });

  it('tells in the ledger how many bytes had left', async () => {
    await offerTwo();
    const parcel = await flow.sealed();
    flow.store.parcels.sending(parcel.id, 100);
    flow.store.parcels.sending(parcel.id, 50);
    await flow.stop('1');
    settleVoid(flow.store, flow.producer(), parcel.id, { atomic: true });
    expect([...flow.store.ledger.entries()].at(-1)).toMatchObject({ kind: 'void', body: { sent: 100 } });
  });

  it.each([
    ['all of it may have arrived', (bytes: number) => bytes, 1],
    ['its last byte never left', (bytes: number) => bytes - 1, 0],
  ])('where the receiver cannot promise: retracts when %s', async (_, sent, retractions) => {
    await offerTwo();
    const parcel = await flow.sealed();
    flow.store.parcels.sending(parcel.id, sent(parcel.bytes ?? 0));
    await flow.stop('1');
    settleVoid(flow.store, flow.producer(), parcel.id, { atomic: false });
    expect(flow.store.retractions.open(flow.producer().id)).toHaveLength(retractions);
  });

  it('that turns out to have arrived after all is retracted once', async () => {
    await offerTwo();
    const parcel = await flow.sealed();
    flow.store.parcels.sending(parcel.id, parcel.bytes ?? 0);
    await flow.stop('1');
    await flow.finish(settleVoid(flow.store, flow.producer(), parcel.id, { atomic: false }));
    await flow.answered(parcel, 'stored');
    expect(flow.store.retractions.open(flow.producer().id)).toHaveLength(1);
    expect(count('provision')).toBe(1);
  });

  it('is not void twice', async () => {
    await offerTwo();
    const parcel = await flow.sealed();
    await flow.stop('1');
    settleVoid(flow.store, flow.producer(), parcel.id, { atomic: true });
    settleVoid(flow.store, flow.producer(), parcel.id, { atomic: true });
    expect(count('void')).toBe(1);
  });
});
