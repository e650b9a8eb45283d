import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Pacs } from '../../../agent/source/dicom/pacs.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { type Script, ScriptedPacs } from '../../peers/dicom/scripted-pacs.ts';
import { portOf } from '../../peers/producer/port.ts';

const opened: { close(): Promise<void> }[] = [];
const signal = new AbortController().signal;

afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
});

async function pacsThat(script: Script) {
  const peer = await ScriptedPacs.start(script);
  opened.push(peer);
  const clock = new FakeClock('2026-11-23T22:30:00+09:00');
  return { peer, clock, pacs: pacsAt(peer.port, clock) };
}

function pacsAt(port: number, clock: FakeClock): Pacs {
  const limits = { idleMsMax: 60_000, moveIdleMsMax: 600_000, totalMsMax: 3_600_000 };
  return new Pacs({ host: '127.0.0.1', port, calledAe: 'PACS', callingAe: 'KAKEHASHI', ...limits }, clock);
}

/** What a request fails with; waited for later, while the clock is moved. */
function failureOf(request: Promise<unknown>): Promise<unknown> {
  return request.then(
    () => undefined,
    (error: unknown) => error,
  );
}

const keys = { StudyInstanceUID: '', PatientID: '', StudyDate: '20261123' };
const row = (number: number) => ({ StudyInstanceUID: `2.25.${number}`, PatientID: String(number) });

describe('a query', () => {
  it.each([0xff00, 0xff01])(
    'is complete only at its final status, and has every match, with pending status %i',
    async (status) => {
      const { pacs } = await pacsThat((_, line) => {
        for (const number of [1, 2, 3]) line.pending(row(number), status);
        line.final(0);
      });
      const found = await pacs.find('STUDY', keys, signal);
      expect(found.status).toBe(0);
      expect(found.rows.map(({ StudyInstanceUID }) => StudyInstanceUID)).toEqual(['2.25.1', '2.25.2', '2.25.3']);
    },
  );

  it('tells a limit by its status, with what came before it', async () => {
    const { pacs } = await pacsThat((_, line) => {
      line.pending(row(1));
      line.final(0xfe00);
    });
    expect(await pacs.find('STUDY', keys, signal)).toMatchObject({ status: 0xfe00, rows: [{ PatientID: '1' }] });
  });

  it.each(['abort', 'close'] as const)('that ends by %s in mid-list is a failure, and no list', async (how) => {
    const { pacs } = await pacsThat((_, line) => {
      line.pending(row(1));
      line[how]();
    });
    await expect(pacs.find('STUDY', keys, signal)).rejects.toMatchObject({ code: 'PACS_CUT' });
  });

  it('that is rejected says why', async () => {
    const { pacs, peer } = await pacsThat(() => undefined);
    peer.admits = false;
    await expect(pacs.find('STUDY', keys, signal)).rejects.toMatchObject({
      code: 'PACS_REFUSED',
      details: { reason: 'calling AE title not recognized' },
    });
  });

  it('at nobody is unreachable', async () => {
    const { pacs, peer } = await pacsThat(() => undefined);
    await peer.close();
    opened.length = 0;
    await expect(pacs.find('STUDY', keys, signal)).rejects.toMatchObject({ code: 'PACS_UNREACHABLE' });
  });

  it('without any answer ends after the time it has, and leaves no connection', async () => {
    const { pacs, peer, clock } = await pacsThat(() => undefined);
    const failed = failureOf(pacs.find('STUDY', keys, signal));
    const expected = { code: 'PACS_TOO_SLOW' };
    while (peer.asked.length === 0) await clock.advance(0);
    await clock.advance(62_000);
    expect(await failed).toMatchObject(expected);
    while (peer.openCount > 0) await clock.advance(0);
  });

  it('ends when we are told to stop', async () => {
    const stopping = new AbortController();
    const { pacs, peer, clock } = await pacsThat(() => undefined);
    const failed = failureOf(pacs.find('STUDY', keys, stopping.signal));
    const expected = { code: 'PACS_CUT' };
    while (peer.asked.length === 0) await clock.advance(0);
    stopping.abort();
    expect(await failed).toMatchObject(expected);
  });

  it('that is accepted by something else than a PACS fails', async () => {
    const sockets: Socket[] = [];
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => socket.destroy());
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const pacs = pacsAt(portOf(server), new FakeClock('2026-11-23T22:30:00+09:00'));
    await expect(pacs.find('STUDY', keys, signal)).rejects.toMatchObject({ code: 'PACS_CUT' });
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  it('writes nothing of what the PACS says to the console', async () => {
    const spies = (['log', 'info', 'warn', 'error', 'debug'] as const).map((name) => vi.spyOn(console, name));
    const { pacs } = await pacsThat((_, line) => {
      line.pending({ ...row(1), PatientID: 'x'.repeat(200) });
      line.final(0);
    });
    await pacs.find('STUDY', keys, signal);
    expect(spies.flatMap((spy) => spy.mock.calls)).toEqual([]);
    vi.restoreAllMocks();
  });
});

describe('a move', () => {
  it('asks for a list of instances whole, as an array and not cut at 64 characters', async () => {
    const { pacs, peer } = await pacsThat((_, line) => line.final(0));
    const sopInstanceUids = [1, 2, 3].map((number) => `2.25.111111111111111111111111111111111.${number}`);
    await pacs.move({ studyInstanceUid: '2.25.1', seriesInstanceUid: '2.25.2', sopInstanceUids }, () => 0, signal);
    expect(peer.asked[0]).toMatchObject({
      level: 'IMAGE',
      keys: { StudyInstanceUID: '2.25.1', SeriesInstanceUID: '2.25.2', SOPInstanceUID: sopInstanceUids.join('\\') },
    });
  });

  it('gives status and counts as the PACS tells them', async () => {
    const { pacs } = await pacsThat((_, line) => line.final(0xb000, { completed: 8, failed: 2 }));
    const moved = await pacs.move({ studyInstanceUid: '2.25.1', seriesInstanceUid: '2.25.2' }, () => 0, signal);
    expect(moved).toEqual({ status: 0xb000, completed: 8, failed: 2 });
  });

  it('to an AE title that the PACS does not know stops for a person', async () => {
    const { pacs } = await pacsThat((_, line) => line.final(0xa801));
    const moved = pacs.move({ studyInstanceUid: '2.25.1', seriesInstanceUid: '2.25.2' }, () => 0, signal);
    await expect(moved).rejects.toMatchObject({ code: 'PACS_DESTINATION_UNKNOWN', class: 'permanent' });
  });

  it('may be silent as long as images arrive, and no longer', async () => {
    const { pacs, peer, clock } = await pacsThat(() => undefined);
    let lastArrivalAt = 0;
    const wish = { studyInstanceUid: '2.25.1', seriesInstanceUid: '2.25.2' };
    const failed = failureOf(pacs.move(wish, () => lastArrivalAt, signal));
    const expected = { code: 'PACS_TOO_SLOW' };
    while (peer.asked.length === 0) await clock.advance(0);
    await clock.advance(500_000);
    lastArrivalAt = clock.monotonic();
    await clock.advance(500_000);
    expect(peer.openCount).toBe(1);
    await clock.advance(102_000);
    expect(await failed).toMatchObject(expected);
  });

  it('ends after its total time although images arrive for ever', async () => {
    const { pacs, peer, clock } = await pacsThat(() => undefined);
    const wish = { studyInstanceUid: '2.25.1', seriesInstanceUid: '2.25.2' };
    const error = { code: 'PACS_TOO_SLOW', details: { limitMs: 3_600_000 } };
    const failed = failureOf(pacs.move(wish, () => clock.monotonic(), signal));
    const expected = error;
    while (peer.asked.length === 0) await clock.advance(0);
    await clock.advance(3_602_000);
    expect(await failed).toMatchObject(expected);
  });
});

describe('an echo', () => {
  it('finds the PACS well, or tells the status it answered', async () => {
    const well = await pacsThat((_, line) => line.final(0));
    await expect(well.pacs.echo(signal)).resolves.toBeUndefined();
    const ill = await pacsThat((_, line) => line.final(0x0122));
    await expect(ill.pacs.echo(signal)).rejects.toMatchObject({ code: 'PACS_FAILED', details: { status: '0x0122' } });
  });
});
