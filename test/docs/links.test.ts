import { existsSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, it } from 'vitest';
import { read, repositoryFiles, root } from '../source-files.ts';

const pages = repositoryFiles().filter((path) => path.endsWith('.md') && !/\/(fixtures|vectors)\//.test(path));

/** GitHub's own rule for the anchor of a heading. */
function anchorOf(heading: string): string {
  const plain = heading.replaceAll(/[`*]/g, '').trim().toLowerCase();
  return plain.replaceAll(/[^\p{L}\p{N}\s_-]/gu, '').replaceAll(/\s/g, '-');
}

function anchorsOf(page: string): string[] {
  return [...read(page).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => anchorOf(heading));
}

/** Undefined, or what is wrong with a link to another file or heading of ours. */
function brokenLink(page: string, link: string): string | undefined {
  const [path = '', anchor] = link.split('#');
  const target = path === '' ? page : normalize(join(dirname(page), decodeURI(path)));
  if (!existsSync(join(root, target))) return `${page}: ${link} is not there`;
  const isKnown = !anchor || !target.endsWith('.md') || anchorsOf(target).includes(decodeURI(anchor));
  return isKnown ? undefined : `${page}: ${link} names a heading that is not there`;
}

describe('the documents', () => {
  it('link only to files and headings that exist', () => {
    const broken = pages.flatMap((page) =>
      [...read(page).matchAll(/\]\(([^)\s]+)\)/g)]
        .map(([, link = '']) => link)
        .filter((link) => !/^[a-z]+:/.test(link))
        .flatMap((link) => brokenLink(page, link) ?? []),
    );
    expect(pages.length).toBeGreaterThan(0);
    expect(broken).toEqual([]);
  });

  it('name only files of the source that exist', () => {
    const named =
      /`((?:agent|producer|test|config|installers|docs)\/[\w./-]*\w\.[a-z]+|(?:agent|producer|test)\/(?:[\w-]+\/)*)`/g;
    const missing = pages.flatMap((page) =>
      [...read(page).matchAll(named)].flatMap(([, path = '']) =>
        existsSync(join(root, path)) ? [] : `${page}: ${path}`,
      ),
    );
    expect(missing).toEqual([]);
  });

  it('are all reached from docs/README.md', () => {
    const map = read('docs/README.md');
    const lost = pages.filter(
      (page) => page.startsWith('docs/') && page !== 'docs/README.md' && !map.includes(`(${page.slice(5)})`),
    );
    expect(lost).toEqual([]);
  });

  it('say the same in Japanese, heading by heading', () => {
    const depths = (page: string) => [...read(page).matchAll(/^(#+) /gm)].map(([, marks = '']) => marks.length);
    for (const page of pages.filter((path) => path.startsWith('docs/ja/'))) {
      expect(depths(page), page).toEqual(depths(page.replace('docs/ja/', 'docs/')));
    }
  });
});
