import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blocksOf, walk } from './walkthrough.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kakehashi-walk-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const server = `node -e '
  const server = require("node:http").createServer((_, answer) => answer.end("hello"));
  server.listen(new URL("http://127.0.0.1:8443").port, "127.0.0.1", () => console.log(JSON.stringify({ event: "ready" })));
  process.on("SIGTERM", () => { console.log("ended"); process.exit(0); });'
`;

describe('the commands of a page', () => {
  it('are only those that are marked, in order', () => {
    const page =
      '```sh\nnot me\n```\n<!-- run -->\n```sh\none\ntwo\n```\ntext\n\n<!-- serve -->\n\n```sh\nthree\n```\n';
    expect(blocksOf(page)).toEqual([
      { kind: 'run', script: 'one\ntwo\n' },
      { kind: 'serve', script: 'three\n' },
    ]);
  });

  it('run one after the other in one folder, under the pinned Node', async () => {
    const ran = await walk(
      [
        { kind: 'run', script: 'node -p process.version > made' },
        { kind: 'run', script: 'cat made' },
      ],
      folder,
    );
    expect(ran.map(({ output }) => output)).toEqual(['', `${process.version}\n`]);
  });

  it('stop at the first that fails, also in its middle', async () => {
    const ran = await walk(
      [
        { kind: 'run', script: 'echo before\nfalse | cat\necho after' },
        { kind: 'run', script: 'echo never' },
      ],
      folder,
    );
    expect(ran.map(({ output, exitCode }) => ({ output, exitCode }))).toEqual([{ output: 'before\n', exitCode: 1 }]);
  });

  it('reach a server that was started before them, at a free port, which is ended afterwards', async () => {
    const ran = await walk(
      [
        { kind: 'serve', script: server },
        { kind: 'run', script: 'curl --silent http://127.0.0.1:8443' },
      ],
      folder,
    );
    expect(ran.map(({ output, exitCode }) => ({ output, exitCode }))).toEqual([
      { output: 'hello\n', exitCode: 0 },
      { output: '{"event":"ready"}\nended\n', exitCode: 0 },
    ]);
    expect(ran[0]?.script).not.toContain(':8443');
  });

  it('show a server that ended before it was ready', async () => {
    const ran = await walk([{ kind: 'serve', script: 'echo no such key\nexit 3' }], folder);
    expect(ran.map(({ output, exitCode }) => ({ output, exitCode }))).toEqual([
      { output: 'no such key\n', exitCode: 3 },
    ]);
  });
});
