/** Commit, then acknowledge: shown by what the kernel was asked, in which order, of the real agent. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { Hospital } from '../peers/hospital/hospital.ts';
import { hl7, person } from '../peers/hospital/messages.ts';
import { PipeliningSender } from '../peers/mllp/sender.ts';
import { judgeTrace, parseTrace, type TraceVerdict, tracedCalls } from './trace.ts';

const senders = 6;
const messagesEach = 12;
/** Above the spool threshold of 256 KiB; one after the other. */
const spooledCount = 8;
const total = senders * messagesEach + spooledCount;

describe('what the kernel saw before each ACK', () => {
  let verdict: TraceVerdict;
  let codes: string[];

  beforeAll(async () => {
    const hospital = await Hospital.create();
    try {
      await hospital.startProducer();
      await hospital.writeConfig();
      const file = join(hospital.folder, 'trace');
      const strace = ['strace', '-f', '-y', '-s', '8', '-o', file, '-e', `trace=${tracedCalls}`];
      await hospital.startAgent({ under: strace });
      await hospital.enrol(['0000012345']);
      const busy = Array.from({ length: senders }, (_, index) => sendOneByOne(hospital, `S${index}`, messagesEach, 0));
      codes = (await Promise.all(busy)).flat();
      codes.push(...(await sendOneByOne(hospital, 'L', spooledCount, 400_000)));
      await hospital.agent.stop();
      verdict = judgeTrace(parseTrace(await readFile(file, 'latin1')));
    } finally {
      await hospital.close();
    }
  }, 120_000);

  it('is complete: every message that was sent was acknowledged, and every acknowledgement is in the trace', () => {
    expect(codes).toEqual(Array.from({ length: total }, () => 'AA'));
    expect(verdict.acknowledged).toBe(total);
    expect(verdict.spooled).toBe(spooledCount);
  });

  it('has no ACK before the WAL was synced, nor before a spool file, its name and its folder were', () => {
    expect(verdict.faults).toEqual([]);
  });
});

/** One message in flight a connection. */
async function sendOneByOne(hospital: Hospital, name: string, count: number, reportChars: number): Promise<string[]> {
  const connection = await PipeliningSender.connect(hospital.port);
  const codes: string[] = [];
  for (let index = 0; index < count; index++) {
    const message = hl7({ controlId: `${name}-${index}`, person: person('0000012345'), reportChars });
    codes.push(...(await connection.send([message])).map(({ code }) => code));
  }
  connection.close();
  return codes;
}

describe('the judge of the trace', () => {
  const wal = '23</state/connector.sqlite-wal>';
  const part = '29</state/spool/3a/3ae0.90ae.part>';
  const steps = {
    read: '1 read(30<socket:[7]>, "\\vMSH|^~\\\\"..., 65536) = 357',
    row: `1 pwrite64(${wal}, "\\0\\0\\0"..., 8192, 32) = 8192`,
    sync: `1 fsync(${wal}) = 0`,
    rest: '1 read(30<socket:[7]>, "QUJDQUJD"..., 500000) = 400000',
    answer: '1 write(30<socket:[7]>, "\\vMSH|^~\\\\"..., 118) = 118',
    file: `2 write(${part}, "\\221"..., 400407) = 400407`,
    fileSync: `2 fdatasync(${part}) = 0`,
    rename: '3 rename("/state/spool/3a/3ae0.90ae.part", "/state/spool/3a/3ae0") = 0',
    folderSync: '4 fsync(29</state/spool/3a>) = 0',
  };
  type Step = keyof typeof steps;
  const judge = (...names: readonly Step[]) =>
    judgeTrace(parseTrace(names.map((name) => steps[name]).join('\n'))).faults;
  const small = ['read', 'row', 'sync', 'answer'] as const;
  const large = ['read', 'rest', 'file', 'fileSync', 'rename', 'folderSync', 'row', 'sync', 'answer'] as const;

  it('finds nothing wrong with the right order', () => {
    expect(judge(...small)).toEqual([]);
    expect(judge(...large)).toEqual([]);
  });

  it('finds an ACK that went out before the WAL was synced', () => {
    expect(judge('read', 'row', 'answer', 'sync')).toEqual(['line 3: acknowledged before the WAL was synced']);
    expect(judge('row', 'sync', 'read', 'answer')).toEqual(['line 4: acknowledged before its row was written']);
    expect(judge('read', 'sync', 'row', 'answer')).toEqual(['line 4: acknowledged before the WAL was synced']);
    expect(judge('answer')).toEqual(['line 1: an answer to nothing that was read']);
  });

  it('finds an ACK that went out while the sync was still at work, or after it had failed', () => {
    const begun = `5 fsync(${wal} <unfinished ...>`;
    const ended = '5 <... fsync resumed>) = 0';
    const inTime = [steps.read, steps.row, begun, ended, steps.answer];
    const tooEarly = [steps.read, steps.row, begun, steps.answer, ended];
    const failed = [steps.read, steps.row, `1 fsync(${wal}) = -1 EIO (Input/output error)`, steps.answer];
    expect(judgeTrace(parseTrace(inTime.join('\n'))).faults).toEqual([]);
    expect(judgeTrace(parseTrace(tooEarly.join('\n'))).faults).toHaveLength(1);
    expect(judgeTrace(parseTrace(failed.join('\n'))).faults).toHaveLength(1);
  });

  it('finds every step that is left out of the way of a spooled payload', () => {
    for (const missing of large.slice(2, -1)) {
      expect(judge(...large.filter((name) => name !== missing)), missing).toHaveLength(1);
    }
  });

  it('finds two steps of a spooled payload that changed places', () => {
    // The row says where the file is, so the row comes last; everything before it in the order of DESIGN 8.
    for (let index = 2; index < large.length - 2; index++) {
      const swapped = [...large];
      [swapped[index], swapped[index + 1]] = [swapped[index + 1] as Step, swapped[index] as Step];
      expect(judge(...swapped), swapped.join(' ')).toHaveLength(1);
    }
  });
});
