/**
 * The console: pages for people, on this machine only. Paths:
 *
 *   GET /            the status page; `?lang=ja` or `?lang=en`, else by `Accept-Language`
 *   GET /console.css, /icon-STATE.svg
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LocalServer, type Question, type Reply } from '../base/local-server.ts';
import type { Status } from '../health/index.ts';
import { iconFile } from './icons.ts';
import { isLanguage, preferredLanguage } from './language.ts';
import { messagePage } from './message-page.ts';
import { type Reader, readerOf } from './reader.ts';
import { statusPage } from './status-page.ts';
import { words } from './words.ts';

/** @returns a server whose `listen` may throw CONSOLE_UNAVAILABLE */
export function consoleServer(status: () => Status): LocalServer {
  const style = readFileSync(join(import.meta.dirname, 'console.css'), 'utf8');
  return new LocalServer({
    unavailable: 'CONSOLE_UNAVAILABLE',
    answer: (question) => asset(question.path, style) ?? page(question, status),
  });
}

function asset(path: string, style: string): Reply | undefined {
  if (path === '/console.css') return { status: 200, body: style, type: 'text/css; charset=utf-8' };
  const icon = iconFile(path);
  return icon === undefined ? undefined : { status: 200, body: icon, type: 'image/svg+xml' };
}

function page({ path, query, headers }: Question, status: () => Status): Reply {
  const asked = query.get('lang') ?? preferredLanguage(headers['accept-language']);
  const isKnown = isLanguage(asked);
  const reader = readerOf(isKnown ? asked : preferredLanguage(headers['accept-language']));
  if (path !== '/') return written(reader, 404, messagePage(words.notFound, reader));
  if (!isKnown) return written(reader, 400, messagePage(words.badRequest, reader));
  return written(reader, 200, statusPage(status(), reader));
}

function written({ language }: Reader, status: Reply['status'], body: string): Reply {
  const headers = { 'Content-Language': language, Vary: 'Accept-Language' };
  return { status, body, type: 'text/html; charset=utf-8', headers };
}
