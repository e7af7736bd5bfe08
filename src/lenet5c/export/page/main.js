// A page alone, without a server.

import { Page } from "./page.js";

window.lenet5c = new Page();
window.lenet5c.ready = true;
