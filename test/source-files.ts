/**
 * The repository as the tests about it see it. Read from the folder, not from git: they must hold for an unpacked
 * archive too, and for a file that is not committed yet.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

export const root = dirname(import.meta.dirname);

/** What .gitignore leaves out, and what is not ours to name or to format. */
const leftOut = /(^|\/)(node_modules|\.git|coverage|dist|first-record)(\/|$)|\.log$/;

/** Paths below the root, with `/`, of every file of the repository. */
export function repositoryFiles(): string[] {
  const found: string[] = [];
  const walk = (folder: string) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = relative(root, join(folder, entry.name)).replaceAll('\\', '/');
      if (leftOut.test(path)) continue;
      if (entry.isDirectory()) walk(join(folder, entry.name));
      else found.push(path);
    }
  };
  walk(root);
  return found.toSorted();
}

export function codeFiles(...folders: readonly string[]): string[] {
  return repositoryFiles().filter(
    (path) => /\.(ts|mjs)$/.test(path) && folders.some((it) => path.startsWith(`${it}/`)),
  );
}

export function read(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

/** Code without its comments, line by line as it was. Enough for formatted code; a `//` within a text stays. */
export function withoutComments(code: string): string {
  return code
    .replaceAll(/\/\*[\s\S]*?\*\//g, (comment) => comment.replaceAll(/[^\n]/g, ''))
    .replaceAll(/(^|\s)\/\/.*$/gm, '');
}
