/** What strace saw of the agent, and whether the disk was asked to keep a message before its sender was told so. */
import { inlineBytesMax } from '../../agent/buffer/spool.ts';

/** Calls to be traced: what reads a frame, writes an answer, and makes bytes and names last. */
export const tracedCalls =
  'read,readv,recvfrom,recvmsg,write,writev,pwrite64,sendto,sendmsg,fsync,fdatasync,rename,renameat,renameat2';

/** One system call; `start` and `end` are places in the trace, equal unless others came in between. */
export interface Call {
  readonly name: string;
  /** As strace wrote it: arguments and result. */
  readonly text: string;
  readonly start: number;
  readonly end: number;
  /** -1 when it failed. */
  readonly result: number;
}

/** The calls of `strace -f -y -o`, in the order in which they began. */
export function parseTrace(trace: string): Call[] {
  const begun = new Map<string, { name: string; text: string; start: number }>();
  const calls: Call[] = [];
  for (const [place, line] of trace.split('\n').entries()) {
    const [, thread = '', rest = ''] = /^(\d+)\s+(.*)$/.exec(line) ?? [];
    const [, resumed] = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest) ?? [];
    if (resumed !== undefined) {
      const call = begun.get(thread);
      begun.delete(thread);
      if (call) calls.push({ ...call, text: call.text + resumed, end: place, result: resultOf(resumed) });
      continue;
    }
    const [, name, text] = /^(\w+)\((.*)$/.exec(rest) ?? [];
    if (name === undefined || text === undefined) continue;
    const unfinished = / <unfinished \.\.\.>$/;
    if (unfinished.test(text)) begun.set(thread, { name, text: text.replace(unfinished, ''), start: place });
    else calls.push({ name, text, start: place, end: place, result: resultOf(text) });
  }
  return calls.toSorted((a, b) => a.start - b.start);
}

function resultOf(text: string): number {
  return Number(/\)\s+= (-?\d+)/.exec(text)?.[1] ?? -1);
}

/** How many acknowledgements there are, and what is wrong with the way to each: nothing, one hopes. */
export interface TraceVerdict {
  readonly acknowledged: number;
  /** Of these, how many waited for a spool file. */
  readonly spooled: number;
  readonly faults: readonly string[];
}

const walName = /^\d+<[^>]*connector\.sqlite-wal>/;
const partName = /^\d+<([^>]*\/spool\/[^>]*\.part)>/;

/**
 * Holds for senders that wait for each answer: the last read before an ACK is then the end of its frame. Of messages
 * that are spooled there may be only one at work at a time, for a file does not say whose it is.
 */
export function judgeTrace(calls: readonly Call[]): TraceVerdict {
  const faults: string[] = [];
  let spooled = 0;
  const answers = calls.filter((call) => /^(write|send)/.test(call.name) && call.text.includes('"\\vMSH'));
  for (const answer of answers) {
    const socket = descriptor(answer);
    const reads = calls.filter((call) => isRead(call) && descriptor(call) === socket && call.end < answer.start);
    const frame = reads.filter(({ result }) => result > 0).at(-1);
    if (!frame) {
      faults.push(`line ${answer.start + 1}: an answer to nothing that was read`);
      continue;
    }
    const between = calls.filter((call) => call.start > frame.end && call.end < answer.start && call.result >= 0);
    const late = beginsBefore(calls, answer, frame);
    const isSpooled = frameBytes(reads, answers) > inlineBytesMax;
    const fault = faultOf({ between, late, isSpooled });
    if (isSpooled) spooled += 1;
    if (fault !== undefined) faults.push(`line ${answer.start + 1}: ${fault}`);
  }
  return { acknowledged: answers.length, spooled, faults };
}

/** Bytes read from this sender since it was answered last. */
function frameBytes(reads: readonly Call[], answers: readonly Call[]): number {
  const [socket, end] = [descriptor(reads[0] as Call), (reads.at(-1) as Call).end];
  const before = answers.filter((call) => descriptor(call) === socket && call.start < end).at(-1);
  return reads.filter(({ start }) => start > (before?.end ?? -1)).reduce((sum, { result }) => sum + result, 0);
}

/** Writes to the WAL that had begun when the answer went out, ended or not. */
function beginsBefore(calls: readonly Call[], answer: Call, frame: Call): Call[] {
  return calls.filter((call) => isWalWrite(call) && call.start > frame.end && call.start < answer.start);
}

interface Way {
  readonly between: readonly Call[];
  readonly late: readonly Call[];
  readonly isSpooled: boolean;
}

function faultOf({ between, late, isSpooled }: Way): string | undefined {
  let from = -1;
  if (isSpooled) {
    const durable = spoolEnd(between);
    if (typeof durable === 'string') return durable;
    from = durable;
  }
  const row = between.find((call) => isWalWrite(call) && call.start > from);
  if (!row) return 'acknowledged before its row was written';
  const last = late.at(-1);
  const isSynced = between.some((call) => isWalSync(call) && call.start > Math.max(row.end, last?.end ?? 0));
  return isSynced ? undefined : 'acknowledged before the WAL was synced';
}

/** Where the spool file is durable under its name; or which step is missing or out of order. */
function spoolEnd(between: readonly Call[]): number | string {
  const synced = between.find((call) => call.name === 'fdatasync' && partName.test(call.text));
  const [, path = ''] = partName.exec(synced?.text ?? '') ?? [];
  const written = between.filter((call) => call.name.includes('write') && call.text.includes(`<${path}>`));
  if (!synced || written.length === 0) return 'the spool file was not written, or not synced';
  if (written.some((call) => call.end > synced.start)) return 'the spool file was written to after it was synced';
  const renamed = between.find((call) => call.name.startsWith('rename') && call.text.includes(`"${path}"`));
  if (!renamed || renamed.start < synced.end) return 'the spool file was not synced before it was renamed';
  const folder = path.slice(0, path.lastIndexOf('/'));
  const named = between.find((call) => call.name === 'fsync' && call.text.includes(`<${folder}>`));
  if (!named || named.start < renamed.end) return 'the folder was not synced after the rename';
  return named.end;
}

/** `29<socket:[169085]>` */
function descriptor({ text }: Call): string {
  return /^\d+<[^>]*>/.exec(text)?.[0] ?? '';
}

function isRead({ name }: Call): boolean {
  return /^(read|recv)/.test(name);
}

function isWalWrite({ name, text }: Call): boolean {
  return /write/.test(name) && walName.test(text);
}

function isWalSync({ name, text }: Call): boolean {
  return (name === 'fsync' || name === 'fdatasync') && walName.test(text);
}
