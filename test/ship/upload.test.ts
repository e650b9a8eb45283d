import { once } from 'node:events';
import { truncate } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RateSchedule, Throttle } from '../../agent/ship/rate.ts';
import type { UploadResult } from '../../agent/ship/upload.ts';
import type { Act, Exchange, ScriptedProducer } from '../peers/producer/scripted.ts';
import { ManualClock, settled, todayJst } from './manual-clock.ts';
import { MiB, Rig } from './rig.ts';

let rig: Rig;
beforeEach(async () => {
  rig = await Rig.create();
});
afterEach(() => rig.close());

const says =
  (status: number, headers: Record<string, string> = {}, body = ''): Act =>
  ({ answer, request }) => {
    request.resume();
    answer(status, headers, body);
  };

const hangUp: Act = async ({ take, request }) => {
  await take();
  request.socket.destroy();
};

const codeOf = (result: UploadResult) => (result.kind === 'refused' ? result.error.code : result.kind);

describe('a parcel on its way', () => {
  it('asks first, announces under our id with the statement, and sends every byte', async () => {
    const producer = await rig.producer();
    const parcel = await rig.parcel(3 * MiB + 17);
    const steps: number[] = [];
    const progress = ({ offset }: { offset: number }) => void steps.push(offset);
    const result = await rig.upload(rig.link(producer.url), parcel, { progress });
    expect(result).toEqual({ kind: 'complete', sentBytes: parcel.bytes });
    expect(producer.methods()).toEqual(['HEAD', 'POST', 'PATCH']);
    expect(producer.content(parcel.parcelId).equals(parcel.content)).toBe(true);
    expect(producer.uploads.get(parcel.parcelId)?.metadata).toContain(
      `statement ${Buffer.from(parcel.statement).toString('base64')}`,
    );
    expect(steps.at(-1)).toBe(parcel.bytes);
  });

  it('sends parts of 64 MiB, each a request of its own', async () => {
    const producer = await rig.producer();
    const parcel = await rig.parcel(64 * MiB + 1);
    await rig.upload(rig.link(producer.url), parcel);
    const lengths = producer.seen
      .filter(({ method }) => method === 'PATCH')
      .map(({ headers }) => headers['content-length']);
    expect(lengths).toEqual([String(64 * MiB), '1']);
  });

  it('ends the connection politely when it is done', async () => {
    const producer = await rig.producer();
    const ends: unknown[] = [];
    producer.next('PATCH', async (exchange) => {
      const { socket } = exchange.request;
      socket.on('error', (error) => ends.push(error));
      socket.on('end', () => ends.push('end'));
      await exchange.serve();
    });
    await rig.upload(rig.link(producer.url), await rig.parcel(1000));
    while (producer.openSockets > 0) await settled();
    expect(ends).toEqual(['end']);
  });

  it('sends nothing of a parcel the producer already has', async () => {
    const producer = await rig.producer();
    const parcel = await rig.parcel(1000);
    const link = rig.link(producer.url);
    await rig.upload(link, parcel);
    expect(await rig.upload(link, parcel)).toEqual({ kind: 'complete', sentBytes: 0 });
  });

  it('goes on with HEAD when the 201 was lost, and does not announce twice', async () => {
    const producer = await rig.producer();
    producer.next('POST', hangUp);
    const parcel = await rig.parcel(1000);
    expect((await rig.upload(rig.link(producer.url), parcel)).kind).toBe('complete');
    expect(producer.methods()).toEqual(['HEAD', 'POST', 'HEAD', 'PATCH']);
  });

  it('sends no byte twice when the 204 was lost', async () => {
    const producer = await rig.producer();
    producer.next('PATCH', hangUp);
    const parcel = await rig.parcel(1000);
    expect(await rig.upload(rig.link(producer.url), parcel)).toEqual({ kind: 'complete', sentBytes: 1000 });
    expect(producer.methods()).toEqual(['HEAD', 'POST', 'PATCH', 'HEAD']);
  });

  it('asks where to go on when the producer answers EXISTS or names another offset', async () => {
    const producer = await rig.producer();
    const parcel = await rig.parcel(1000);
    producer.next('POST', async ({ take, answer }) => {
      await take();
      answer(409, {}, '{"code":"EXISTS","message":""}');
    });
    producer.next('PATCH', says(409));
    expect((await rig.upload(rig.link(producer.url), parcel)).kind).toBe('complete');
    expect(producer.content(parcel.parcelId).equals(parcel.content)).toBe(true);
  });

  it('refuses a file that shrank since it was sealed', async () => {
    const producer = await rig.producer();
    const parcel = await rig.parcel(2 * MiB);
    await truncate(parcel.path, MiB);
    expect(codeOf(await rig.upload(rig.link(producer.url), parcel))).toBe('PARCEL_FILE_SHORT');
  });

  it('refuses a file that is not there', async () => {
    const producer = await rig.producer();
    const parcel = { ...(await rig.parcel(10)), path: '/nowhere/P-0001' };
    expect(codeOf(await rig.upload(rig.link(producer.url), parcel))).toBe('FILE_UNREADABLE');
    expect(producer.methods()).toEqual([]);
  });
});

describe('a producer that says no', () => {
  it.each([
    [401, 'PRODUCER_DENIED'],
    [403, 'PRODUCER_DENIED'],
    [410, 'PARCEL_GONE'],
    [418, 'PRODUCER_REFUSED'],
    [302, 'PRODUCER_REFUSED'],
  ])('stops at %i to HEAD with %s', async (status, code) => {
    const producer = await rig.producer();
    producer.next('HEAD', says(status, { location: 'https://elsewhere.example/' }));
    expect(codeOf(await rig.upload(rig.link(producer.url), await rig.parcel(10)))).toBe(code);
    expect(producer.methods()).toEqual(['HEAD']);
    expect(rig.events).toMatchObject([{ name: 'ship.failed', code }]);
  });

  it.each([
    [404, 'PRODUCER_NOT_FOUND'],
    [410, 'PARCEL_GONE'],
    [413, 'PARCEL_OVER_LIMIT'],
    [422, 'PARCEL_REFUSED'],
  ])('stops at %i to the announcement with %s', async (status, code) => {
    const producer = await rig.producer();
    producer.next('POST', says(status));
    expect(codeOf(await rig.upload(rig.link(producer.url), await rig.parcel(10)))).toBe(code);
  });

  it('believes the reason the producer names more than the status', async () => {
    const producer = await rig.producer();
    producer.next('POST', says(409, {}, '{"code":"EPOCH_OLD","message":"x"}'));
    expect(codeOf(await rig.upload(rig.link(producer.url), await rig.parcel(10)))).toBe('EPOCH_OLD');
  });

  it('refuses a receiver that chooses an id of its own', async () => {
    const producer = await rig.producer();
    producer.next('POST', says(201, { location: '/files/another' }));
    expect(codeOf(await rig.upload(rig.link(producer.url), await rig.parcel(10)))).toBe('PRODUCER_ID_CHANGED');
  });

  it.each([423, 429, 500, 502, 503, 507])('tries again after %i', async (status) => {
    const producer = await rig.producer();
    producer.next('PATCH', says(status), says(status));
    const parcel = await rig.parcel(1000);
    expect((await rig.upload(rig.link(producer.url), parcel)).kind).toBe('complete');
    expect(producer.methods().filter((method) => method === 'HEAD')).toHaveLength(3);
  });

  it('tells a person after five failures without progress, and that it goes on', async () => {
    const producer = await rig.producer();
    producer.next('PATCH', ...Array.from({ length: 7 }, () => says(507)));
    await rig.upload(rig.link(producer.url), await rig.parcel(1000));
    expect(rig.events).toMatchObject([{ name: 'ship.failed', code: 'PRODUCER_FULL' }, { name: 'ship.recovered' }]);
  });

  it('halves the part at 413 until it passes', async () => {
    const producer = await rig.producer();
    producer.always('PATCH', (exchange) =>
      Number(exchange.request.headers['content-length']) > MiB ? says(413)(exchange) : exchange.serve(),
    );
    const parcel = await rig.parcel(5 * MiB);
    expect((await rig.upload(rig.link(producer.url), parcel)).kind).toBe('complete');
    expect(producer.content(parcel.parcelId).equals(parcel.content)).toBe(true);
  });

  it('gives up when not even the smallest part passes', async () => {
    const producer = await rig.producer();
    producer.always('PATCH', says(413));
    expect(codeOf(await rig.upload(rig.link(producer.url), await rig.parcel(2 * MiB)))).toBe('PRODUCER_BODY_LIMIT');
  });

  it('begins again once when the digest is refused, and then stops', async () => {
    const producer = await rig.producer();
    const discard: Act = async ({ take, upload, answer }) => {
      await take();
      upload?.chunks.splice(0);
      if (upload) upload.offset = 0;
      answer(460);
    };
    producer.next('PATCH', discard);
    const parcel = await rig.parcel(1000);
    expect((await rig.upload(rig.link(producer.url), parcel)).kind).toBe('complete');
    producer.uploads.clear();
    producer.next('PATCH', discard, discard);
    expect(codeOf(await rig.upload(rig.link(producer.url), parcel))).toBe('PARCEL_DIGEST_REFUSED');
  });

  it('uploads once more what the producer lost, and stops when it is lost again', async () => {
    const producer = await rig.producer();
    const lose: Act = async ({ take, answer, id }) => {
      await take();
      producer.uploads.delete(id);
      answer(404);
    };
    producer.next('PATCH', lose);
    const parcel = await rig.parcel(1000);
    expect((await rig.upload(rig.link(producer.url), parcel)).kind).toBe('complete');
    producer.uploads.clear();
    producer.next('PATCH', lose, lose);
    expect(codeOf(await rig.upload(rig.link(producer.url), parcel))).toBe('PARCEL_LOST');
  });
});

describe('a producer that lies', () => {
  const stands = (offset: string, length = '1000') => says(200, { 'upload-offset': offset, 'upload-length': length });

  it.each([
    ['an offset beyond the end', stands('1001'), 'PRODUCER_OFFSET_INVALID'],
    ['another length', stands('0', '999'), 'PARCEL_OTHER_LENGTH'],
  ])('is not believed %s', async (_what, act, code) => {
    const producer = await rig.producer();
    producer.next('HEAD', act);
    expect(codeOf(await rig.upload(rig.link(producer.url), await rig.parcel(1000)))).toBe(code);
    expect(producer.methods()).toEqual(['HEAD']);
  });

  it('about having the parcel is asked again, and a person is told', async () => {
    const producer = await rig.producer();
    producer.next('POST', ...Array.from({ length: 5 }, () => says(409)));
    expect((await rig.upload(rig.link(producer.url), await rig.parcel(1000))).kind).toBe('complete');
    expect(rig.events[0]).toMatchObject({ name: 'ship.failed', code: 'PARCEL_CONFLICT' });
  });

  it('is not believed an offset that goes back', async () => {
    const producer = await rig.producer();
    producer.next('HEAD', stands('500'), stands('400'));
    producer.next('PATCH', says(503));
    expect(codeOf(await rig.upload(rig.link(producer.url), await rig.parcel(1000)))).toBe('PRODUCER_OFFSET_INVALID');
  });

  it.each(['999', '0', '2000'])('is not believed a 204 at offset %s for a part that ends at 1000', async (offset) => {
    const producer = await rig.producer();
    producer.next('PATCH', async ({ take, answer }) => {
      await take();
      answer(204, { 'upload-offset': offset });
    });
    expect(codeOf(await rig.upload(rig.link(producer.url), await rig.parcel(1000)))).toBe('PRODUCER_OFFSET_INVALID');
  });

  it.each(['', '-1', '1e3', '0x10', '99999999999999999999'])('is asked again after the offset "%s"', async (offset) => {
    const producer = await rig.producer();
    producer.next('HEAD', says(200, { 'upload-offset': offset, 'upload-length': '1000' }));
    const result = await rig.upload(rig.link(producer.url), await rig.parcel(1000));
    expect(result.kind).toBe('complete');
    expect(producer.methods().slice(0, 2)).toEqual(['HEAD', 'HEAD']);
  });
});

describe('the permit', () => {
  it.each([
    ['void', 'void'],
    ['pause', 'permit'],
  ] as const)('is asked before each part: "%s" after the first leaves the second unsent', async (answer, reason) => {
    const producer = await rig.producer();
    const parcel = await rig.parcel(64 * MiB + 10);
    let permit: 'go' | 'pause' | 'void' = 'go';
    producer.next('PATCH', async (exchange) => {
      await exchange.take();
      permit = answer;
      exchange.answer(204, { 'upload-offset': String(exchange.upload?.offset) });
    });
    const result = await rig.upload(rig.link(producer.url), parcel, { permit: () => permit });
    expect(result).toEqual({ kind: 'paused', reason, offset: 64 * MiB, sentBytes: 64 * MiB });
    expect(producer.methods()).toEqual(['HEAD', 'POST', 'PATCH']);
  });

  it('is asked before the announcement', async () => {
    const producer = await rig.producer();
    const result = await rig.upload(rig.link(producer.url), await rig.parcel(10), { permit: () => 'pause' });
    expect(result).toEqual({ kind: 'paused', reason: 'permit', offset: 0, sentBytes: 0 });
    expect(producer.methods()).toEqual([]);
  });

  it('ends the waiting for a producer that is away', async () => {
    const producer = await rig.producer();
    let asked = 0;
    producer.always('HEAD', says(503));
    const result = await rig.upload(rig.link(producer.url), await rig.parcel(10), {
      permit: () => (++asked > 6 ? 'void' : 'go'),
    });
    expect(result).toMatchObject({ kind: 'paused', reason: 'void' });
  });
});

/** A producer that takes the head of a PATCH and stops reading, until let go. */
async function stuck() {
  const producer = await rig.producer();
  const reached = Promise.withResolvers<Exchange>();
  producer.next('PATCH', (exchange) => {
    exchange.request.once('data', () => {
      exchange.request.pause();
      reached.resolve(exchange);
    });
  });
  return { producer, reached: reached.promise };
}

const heads = (producer: ScriptedProducer) => producer.methods().filter((method) => method === 'HEAD').length;

describe('an abort', () => {
  it('in the middle of a part lets no further byte leave: the kernel throws away what it still held', async () => {
    const { producer, reached } = await stuck();
    const abort = new AbortController();
    const parcel = await rig.parcel(60 * MiB);
    const running = rig.upload(rig.link(producer.url), parcel, { signal: abort.signal });
    const { request } = await reached;
    const failed = once(request, 'error');
    abort.abort();
    const result = await running;
    expect(result).toMatchObject({ kind: 'paused', reason: 'aborted', offset: 0 });
    const sentBytes = result.sentBytes;
    request.on('data', (chunk: Buffer) => {
      producer.bodyBytes += chunk.length;
    });
    request.resume();
    // A reset, and not a polite end: after a polite one all of the sender's kernel buffer would still arrive.
    expect(await failed).toMatchObject([{ code: 'ECONNRESET' }]);
    expect(producer.bodyBytes).toBeLessThan(sentBytes);
    expect(producer.methods()).toEqual(['HEAD', 'POST', 'PATCH']);
    expect(sentBytes).toBeLessThan(parcel.bytes);
  });

  it('before the start sends nothing', async () => {
    const producer = await rig.producer();
    const result = await rig.upload(rig.link(producer.url), await rig.parcel(10), { signal: AbortSignal.abort() });
    expect(result).toMatchObject({ kind: 'paused', reason: 'aborted' });
    expect(producer.openSockets).toBe(0);
  });

  it('ends a wait of hours at once', async () => {
    const producer = await rig.producer();
    producer.next('HEAD', says(429, { 'retry-after': '3600' }));
    const clock = new ManualClock();
    const abort = new AbortController();
    const parcel = await rig.parcel(10);
    const running = rig.upload(rig.link(producer.url, { clock }), parcel, { signal: abort.signal });
    while (producer.seen.length === 0 || producer.openSockets > 0) await settled();
    abort.abort();
    expect(await running).toMatchObject({ kind: 'paused', reason: 'aborted' });
  });
});

describe('time', () => {
  it('a producer that stops reading is cut after 30 s, and the upload goes on with HEAD', async () => {
    const { producer, reached } = await stuck();
    const clock = new ManualClock();
    const parcel = await rig.parcel(30 * MiB);
    const running = rig.upload(rig.link(producer.url, { clock }), parcel);
    await reached;
    // Time passes only while the line stands: the first buffers are still being filled when the head has arrived.
    while (heads(producer) < 2) {
      await clock.advance(31_000);
      for (let turn = 0; turn < 500 && heads(producer) < 2; turn += 1) await settled();
    }
    expect((await running).kind).toBe('complete');
    expect(producer.content(parcel.parcelId).equals(parcel.content)).toBe(true);
  });

  it('a producer may take longer to answer than to read: 100 s after the last byte are not a standstill', async () => {
    const producer = await rig.producer();
    const clock = new ManualClock();
    const read = Promise.withResolvers<Exchange>();
    producer.next('PATCH', async (exchange) => {
      await exchange.take();
      read.resolve(exchange);
    });
    const parcel = await rig.parcel(1000);
    const running = rig.upload(rig.link(producer.url, { clock }), parcel);
    const { answer } = await read.promise;
    for (let second = 0; second < 100; second += 1) await clock.advance(1000);
    answer(204, { 'upload-offset': '1000' });
    expect((await running).kind).toBe('complete');
    expect(producer.methods()).toEqual(['HEAD', 'POST', 'PATCH']);
  });

  it('an absurd Retry-After is kept for six hours and no longer', async () => {
    const producer = await rig.producer();
    const clock = new ManualClock();
    producer.next('PATCH', says(429, { 'retry-after': '999999999' }));
    const running = rig.upload(rig.link(producer.url, { clock }), await rig.parcel(1000));
    while (!producer.methods().includes('PATCH') || producer.openSockets > 0) await settled();
    const startedAt = clock.monotonic();
    while (clock.monotonic() - startedAt < 6 * 3_600_000 - 60_000) await clock.advance(60_000);
    expect(producer.methods().filter((method) => method === 'HEAD')).toHaveLength(1);
    await clock.advance(60_000);
    expect((await running).kind).toBe('complete');
  });

  it('at the end of the window the part is aborted, and the next window goes on from there', async () => {
    const producer = await rig.producer();
    const clock = new ManualClock(todayJst('05:59:50'));
    const rate = new Throttle(RateSchedule.parse('06:00 0, 22:00 1M'), clock);
    const parcel = await rig.parcel(20 * MiB);
    const link = rig.link(producer.url, { clock });
    const first = rig.upload(link, parcel, { rate });
    while (clock.now() < todayJst('06:00:00')) await clock.advance(100);
    await clock.advance(2000);
    expect(await first).toMatchObject({ kind: 'paused', reason: 'window' });
    expect(producer.bodyBytes).toBeLessThanOrEqual(11 * MiB);
    expect(await rig.upload(link, parcel, { rate })).toMatchObject({ kind: 'paused', reason: 'window', sentBytes: 0 });
    expect(rate.nextOpening()).toBe(todayJst('22:00:00'));
    rate.schedule = RateSchedule.parse('unlimited');
    expect((await rig.upload(link, parcel, { rate })).kind).toBe('complete');
    expect(producer.content(parcel.parcelId).equals(parcel.content)).toBe(true);
  });

  it('the rate holds over the bytes the producer gets', async () => {
    const producer = await rig.producer();
    const clock = new ManualClock();
    const rate = new Throttle(RateSchedule.parse('1M'), clock);
    const abort = new AbortController();
    const running = rig.upload(rig.link(producer.url, { clock }), await rig.parcel(30 * MiB), {
      rate,
      signal: abort.signal,
    });
    while (producer.bodyBytes === 0) await clock.advance(100);
    const [startedAt, before] = [clock.monotonic(), producer.bodyBytes];
    while (clock.monotonic() - startedAt < 10_000) {
      await clock.advance(100);
      await settled();
    }
    abort.abort();
    await running;
    expect(producer.bodyBytes - before).toBeLessThanOrEqual(10 * MiB * 1.03 + 0.3 * MiB);
  });
});

describe('the line', () => {
  it('goes on after a producer that is not there yet', async () => {
    const producer = await rig.producer();
    const { port } = producer;
    await producer.close();
    const parcel = await rig.parcel(1000);
    let asked = 0;
    const result = await rig.upload(rig.link(`https://localhost:${port}/`), parcel, {
      permit: () => (++asked > 20 ? 'pause' : 'go'),
    });
    expect(result).toMatchObject({ kind: 'paused', reason: 'permit' });
    expect(rig.events).toMatchObject([{ name: 'ship.failed', code: 'NET_UNREACHABLE' }]);
  });

  it('does not grow without bound in memory for a producer that answers with a page', async () => {
    const producer = await rig.producer();
    producer.next('POST', says(201, {}, 'x'.repeat(100_000)));
    const parcel = await rig.parcel(1000);
    expect((await rig.upload(rig.link(producer.url), parcel)).kind).toBe('complete');
    expect(producer.methods().filter((method) => method === 'POST')).toHaveLength(2);
  });
});
