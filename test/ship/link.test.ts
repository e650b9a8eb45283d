import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConnectorError } from '../../agent/model/errors.ts';
import type { Act } from '../peers/producer/scripted.ts';
import { ManualClock, settled } from './manual-clock.ts';
import { Rig } from './rig.ts';

let rig: Rig;
beforeEach(async () => {
  rig = await Rig.create();
});
afterEach(() => rig.close());

const jws = 'aGVhZA.Ym9keQ.c2ln';
const says =
  (status: number, body = '', headers: Record<string, string> = {}): Act =>
  ({ answer, request }) => {
    request.resume();
    answer(status, headers, body);
  };
const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'none',
    (error: unknown) => (error instanceof ConnectorError ? error.code : error),
  );

describe('the questions', () => {
  it('tells the producer and its clock', async () => {
    const producer = await rig.producer();
    const { producer: name, at, roundTripMs } = await rig.link(producer.url).health();
    expect(name).toBe('ldi');
    expect(Math.abs(at - Date.now())).toBeLessThan(60_000);
    expect(roundTripMs).toBeGreaterThan(0);
  });

  it('says hello with the JWS as it is and reads what the producer knows of us', async () => {
    const producer = await rig.producer();
    const { answer } = await rig.link(producer.url).hello(jws);
    expect(answer).toEqual({ producer: 'ldi', epoch: 1, sequence: 4, receiptSequence: 7 });
    expect(producer.seen[0]).toMatchObject({ path: '/v1/hello', headers: { 'content-type': 'application/jose' } });
  });

  it('keeps the path of the configured url', async () => {
    const producer = await rig.producer();
    await rig.link(`${producer.url}intake/hospital`).health();
    expect(producer.seen[0]?.path).toBe('/intake/hospital/v1/health');
  });

  it('fetches receipts after a number, retracts, and sends heartbeats with their signature', async () => {
    const producer = await rig.producer();
    const link = rig.link(producer.url);
    producer.receipts = [jws, jws];
    expect(await link.receipts(7)).toEqual([jws, jws]);
    expect(await link.retract(jws)).toBe('e30.e30.c2ln');
    await link.sendMetrics('{}', jws);
    expect(producer.seen.map(({ path }) => path)).toEqual(['/v1/receipts?after=7', '/v1/retractions', '/v1/metrics']);
    expect(producer.seen[2]?.headers['kakehashi-signature']).toBe(jws);
  });

  it.each([
    ['EPOCH_OLD', 409, '{"code":"EPOCH_OLD","message":"x"}'],
    ['KEY_MISMATCH', 403, '{"code":"KEY_MISMATCH","message":"x"}'],
    ['PRODUCER_DENIED', 403, ''],
    ['PRODUCER_NOT_FOUND', 404, '<html>'],
    ['PRODUCER_FAILED', 500, '{"code":"EPOCH_OLD"}'],
    ['PRODUCER_REFUSED', 400, '{"code":"架橋"}'],
  ])('gives %s for %i with "%s"', async (code, status, body) => {
    const producer = await rig.producer();
    producer.next('POST', says(status, body));
    expect(await codeOf(rig.link(producer.url).hello(jws))).toBe(code);
  });

  it('tells a heartbeat that was overtaken', async () => {
    const producer = await rig.producer();
    producer.next('POST', says(409, '{"code":"SEQUENCE_OLD"}'));
    expect(await codeOf(rig.link(producer.url).sendMetrics('{}', jws))).toBe('HEARTBEAT_OLD');
  });
});

describe('an answer', () => {
  it.each([
    ['a page', '<html>maintenance</html>'],
    ['nothing', ''],
    ['JSON of another kind', '{"producer":5}'],
    ['a negative number', '{"producer":"ldi","epoch":-1,"sequence":4,"receiptSequence":7}'],
    ['more than 64 KiB', `{"producer":"ldi","epoch":1,"sequence":4,"receiptSequence":7,"x":"${'x'.repeat(66_000)}"}`],
  ])('of %s is not believed, and not repeated in the error', async (_what, body) => {
    const producer = await rig.producer();
    producer.next('POST', says(200, body));
    const error: unknown = await rig
      .link(producer.url)
      .hello(jws)
      .catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'PRODUCER_ANSWER_INVALID' });
    expect(String(error)).not.toContain('maintenance');
  });

  it('without a Date cannot tell the time', async () => {
    const producer = await rig.producer();
    producer.next('GET', ({ answer, response }) => {
      response.sendDate = false;
      answer(200, {}, '{"ok":true,"producer":"ldi"}');
    });
    expect(await codeOf(rig.link(producer.url).health())).toBe('PRODUCER_ANSWER_INVALID');
  });

  it('of more than 500 receipts, or of something that is not a JWS, is not believed', async () => {
    const producer = await rig.producer();
    const link = rig.link(producer.url);
    producer.receipts = Array.from({ length: 500 }, () => jws);
    expect(await link.receipts(0)).toHaveLength(500);
    producer.receipts.push(jws);
    expect(await codeOf(link.receipts(0))).toBe('PRODUCER_ANSWER_INVALID');
    producer.receipts = ['no receipt'];
    expect(await codeOf(link.receipts(0))).toBe('PRODUCER_ANSWER_INVALID');
    producer.next('POST', says(200, 'no receipt'));
    expect(await codeOf(link.retract(jws))).toBe('PRODUCER_ANSWER_INVALID');
  });

  it('that never comes is given up after 30 s', async () => {
    const producer = await rig.producer();
    const clock = new ManualClock(Date.now());
    const asked = Promise.withResolvers<void>();
    producer.next('GET', () => asked.resolve());
    const code = codeOf(rig.link(producer.url, { clock }).health());
    await asked.promise;
    await clock.advance(30_000);
    expect(await code).toBe('NET_STALLED');
  });

  it('that breaks off is an ambiguous failure, and the next question works', async () => {
    const producer = await rig.producer();
    const link = rig.link(producer.url);
    producer.next('POST', ({ request }) => void request.socket.destroy());
    expect(await codeOf(link.hello(jws))).toBe('NET_CUT');
    expect(new ConnectorError('NET_CUT').class).toBe('ambiguous');
    expect((await link.hello(jws)).answer.epoch).toBe(1);
  });
});

describe('a DELETE', () => {
  it('with an atomic 204 is void for ever', async () => {
    const producer = await rig.producer();
    expect(await rig.link(producer.url).void('P/1')).toEqual({ kind: 'void', atomic: true });
    expect(producer.seen[0]?.path).toBe('/files/P%2F1');
  });

  it('that comes too late brings the receipt', async () => {
    const producer = await rig.producer();
    producer.next('DELETE', says(409, jws, { 'kakehashi-void': 'atomic' }));
    expect(await rig.link(producer.url).void('P-1')).toEqual({ kind: 'stored', receipt: jws });
  });

  it.each([
    ['204 without the promise', 204, {}],
    ['404', 404, { 'kakehashi-void': 'atomic' }],
    ['410', 410, {}],
  ])('answered %s proves nothing about a parcel that had been sent whole', async (_what, status, headers) => {
    const producer = await rig.producer();
    producer.next('DELETE', says(status, '', headers));
    expect(await rig.link(producer.url).void('P-1')).toEqual({ kind: 'void', atomic: false });
  });

  it('from a plain tus server is never atomic, whatever the server says', async () => {
    const producer = await rig.producer();
    const link = rig.link(producer.url, { receiver: 'tus' });
    producer.next('DELETE', says(204, '', { 'kakehashi-void': 'atomic' }), says(400), says(501));
    for (let time = 0; time < 3; time += 1) expect(await link.void('P-1')).toEqual({ kind: 'void', atomic: false });
  });

  it.each([
    [409, 'PRODUCER_REFUSED'],
    [423, 'PRODUCER_BUSY'],
    [503, 'PRODUCER_BUSY'],
  ])('answered %i without a receipt is not done', async (status, code) => {
    const producer = await rig.producer();
    producer.next('DELETE', says(status));
    expect(await codeOf(rig.link(producer.url).void('P-1'))).toBe(code);
  });
});

it('a closed link leaves no connection behind and answers no more', async () => {
  const producer = await rig.producer();
  const link = rig.link(producer.url);
  await link.health();
  await link.close();
  while (producer.openSockets > 0) await settled();
  expect(await codeOf(link.health())).toBe('NET_CUT');
});

it('a tus server is asked for tus, and what does not speak it is told', async () => {
  const producer = await rig.producer();
  const link = rig.link(producer.url, { receiver: 'tus' });
  expect((await link.health()).producer).toBe('ldi');
  producer.next('OPTIONS', says(200));
  expect(await codeOf(link.health())).toBe('PRODUCER_ANSWER_INVALID');
});
